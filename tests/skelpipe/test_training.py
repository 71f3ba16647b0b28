"""The arguments of `skelpipe.train` are checked before a library for training is imported."""

import subprocess
import sys

import pytest

import skelpipe
from pose_extraction.errors import UsageError


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"settings": {"training.phase1_epoch": 3}}, "did you mean 'training.phase1_epochs'"),
        ({"config": "costum"}, "unknown config costum"),
        ({"resume": "runs/a", "out": "runs/b"}, "leave out the argument out='runs/b'"),
        ({"resume": "runs/a", "config": "custom"}, "leave out 'custom'"),
        ({"resume": "runs/a", "init": "runs/b"}, "leave out init"),
    ],
)
def test_wrong_arguments_are_refused(arguments, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=reason):
        skelpipe.train("a.pkl", **arguments)


def test_a_missing_file_is_reported_without_loading_torch(tmp_path):
    program = (
        "import sys, skelpipe\ntry:\n    skelpipe.train('missing.pkl')\nexcept skelpipe.SkelpipeError as error:\n"
        "    print(error, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "missing.pkl" in done.stdout and done.stdout.endswith(" False\n"), done.stderr

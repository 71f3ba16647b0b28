"""The comparison with published code: what happens without clones, and with a clone whose names are those of ours."""

import importlib
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import official_parity as parity
from benchmarks.official.loading import Difference, copy_weights, modules_of, randomise, stand_in


def test_missing_clones_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["official_parity.py", str(tmp_path)])
    assert parity.main() == 0
    printed = capsys.readouterr()
    assert printed.out.count("\n") == 2
    for name in parity.COMPARISONS:
        assert f"{name}: skipped, {tmp_path / name} does not exist" in printed.err


def test_differences_above_their_limit_are_errors_unless_they_have_a_reason() -> None:
    assert parity.verdict(Difference("loss", 1e-12)) == "equal"
    assert parity.verdict(Difference("loss", 0.5)) == "DIFFERENT"
    assert parity.verdict(Difference("rate", 0.5, note="one step ahead")) == "known: one step ahead"


def test_modules_of_a_clone_are_forgotten_and_ours_return(tmp_path: Path) -> None:
    """A clone may contain a package with the name of one of ours, and import what is not installed."""
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "__init__.py").touch()
    (tmp_path / "pipeline" / "config.py").write_text("import not_installed\nVALUE = 3\nprint('noise')\n")
    ours = importlib.import_module("pipeline.config")
    with modules_of(tmp_path, {"not_installed": stand_in("not_installed")}):
        assert importlib.import_module("pipeline.config").VALUE == 3
    assert importlib.import_module("pipeline.config") is ours
    assert "not_installed" not in sys.modules and str(tmp_path) not in sys.path
    assert not list(tmp_path.rglob("__pycache__"))


def test_weights_without_a_counterpart_are_reported() -> None:
    ours, theirs = torch.nn.Linear(2, 3), torch.nn.Linear(2, 3)
    randomise(theirs)
    copy_weights(ours, dict(theirs.state_dict()))
    assert torch.equal(ours.weight, theirs.weight)
    with pytest.raises(KeyError, match=r"of ours \['bias'\]"):
        copy_weights(ours, {"weight": theirs.weight})
    with pytest.raises(KeyError, match=r"of theirs \['extra'\]"):
        copy_weights(ours, {**theirs.state_dict(), "extra": theirs.bias})

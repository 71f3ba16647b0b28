"""Skeleton files of several data sets as one, with other names of classes."""

from pathlib import Path

import numpy as np
import pytest

from pose_extraction.errors import UsageError
from recognition.data.class_names import names_of
from synthetic.everyday.merging import Part, merged
from test_support.networks.trained_run import made_clip, write_data


def part(name: str, path: Path) -> Part:
    clips = [made_clip(f"clip{n}", label, np.random.default_rng(n)) for n, label in enumerate(("wave", "jump"))]
    return Part(name, write_data(path / f"{name}.pkl", clips, {"train": ["clip0"], "test": ["clip1"]}))


def test_classes_get_other_names(tmp_path: Path) -> None:
    parts = [part("one", tmp_path), part("two", tmp_path)]
    data = merged(parts, names_of("--call", ["jump=wave"]))
    assert data["label_names"] == ["wave"] and {clip["label"] for clip in data["annotations"]} == {0}
    assert data["split"] == {"train": ["one/0/clip0", "two/1/clip0"], "test": ["one/0/clip1", "two/1/clip1"]}
    with pytest.raises(
        UsageError, match=r"--call jmp=x: there is no class 'jmp' in .*one.pkl, .*two.pkl; did you mean j"
    ):
        merged(parts, names_of("--call", ["jmp=x"]))

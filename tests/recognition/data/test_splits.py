"""Which clips each command uses: one rule for names, defaults and the word `all`."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.protocols.clips import labelled_clips
from pose_extraction.errors import UsageError
from recognition.data.clips import ClipSet, open_clips
from recognition.data.splits import (
    left_out_of,
    matching_test_split,
    split_indices,
    training_indices,
    training_split,
)
from recognition.pretraining.preparation import prepare_pretraining
from recognition.pretraining.settings import PretrainSettings
from recognition.settings import DataSettings, RunSettings
from recognition.training.preparation import prepare
from test_support.clips.made_clips import annotation, write_clips

NAMES = [f"clip{number}" for number in range(10)]
TRAIN, TEST, SOME = NAMES[:6], NAMES[6:], NAMES[2:5]


def write(path: Path, split: dict[str, list[str]]) -> Path:
    """Write ten labelled clips of two classes with these splits."""
    rng = np.random.default_rng(0)
    clips = [annotation(name, rng, label=number % 2, frames=8) for number, name in enumerate(NAMES)]
    return write_clips(path, clips, split, label_names=["a", "b"])


def opened(path: Path, split: dict[str, list[str]]) -> ClipSet:
    return open_clips(write(path, split), DataSettings())


@pytest.mark.parametrize(
    ("split", "every"),
    [({}, NAMES), ({"train": TRAIN, "test": TEST}, NAMES), ({"train": TRAIN, "test": TEST, "all": SOME}, SOME)],
)
def test_all_is_the_split_with_that_name_or_every_clip(tmp_path, split, every):
    clips = opened(tmp_path / "a.pkl", split)
    expected = [NAMES.index(name) for name in every]
    assert split_indices(clips, "all").tolist() == expected
    assert split_indices(clips, None).tolist() == list(range(10))
    assert training_indices(clips, DataSettings(train_split="all")).tolist() == expected
    if "train" in split:
        assert training_split(clips, DataSettings()) == "train"
        assert matching_test_split(clips, DataSettings()) == "test"
    else:
        assert training_split(clips, DataSettings()) is None and matching_test_split(clips, DataSettings()) == "all"


def test_clips_that_were_left_out_belong_to_the_same_splits(tmp_path):
    rng = np.random.default_rng(0)
    clips = [annotation(name, rng, frames=8) for name in NAMES[:4]]
    for clip in clips[1:3]:
        clip["keypoint"] *= 0
        clip["keypoint_score"] *= 0
    for split, expected in (
        ({"test": ["clip1"]}, ["clip1", "clip2"]),
        ({"test": ["clip1"], "all": ["clip2"]}, ["clip2"]),
    ):
        found = open_clips(write_clips(tmp_path / "a.pkl", clips, split), DataSettings(), leave_out_empty=True)
        assert [clip.name for clip in left_out_of(found, "all")] == expected
        assert [clip.name for clip in left_out_of(found, "test")] == ["clip1"]
        assert len(left_out_of(found, None)) == 2


@pytest.mark.parametrize(
    ("split", "setting", "expected"),
    [
        ({"train": TRAIN, "test": TEST}, "auto", TRAIN),
        ({"train": TRAIN, "test": TEST}, "all", NAMES),
        ({"train": TRAIN, "test": TEST, "all": SOME}, "auto", TRAIN),
        ({"train": TRAIN, "test": TEST, "all": SOME}, "all", SOME),
        ({"all": NAMES}, "auto", NAMES),
        ({}, "auto", NAMES),
    ],
)
def test_training_and_pretraining_choose_the_same_clips(tmp_path, split, setting, expected):
    data = DataSettings(file=str(write(tmp_path / "a.pkl", split)), train_split=setting, holdout=0)
    trained = prepare(RunSettings(data=data, out=str(tmp_path / "run")))
    assert trained.split()["training"] == expected
    pretraining = prepare_pretraining(PretrainSettings(method="mamp", data=data.model_copy(update={"num_frames": 16})))
    assert [pretraining.clips.names[index] for index in pretraining.training] == expected


def test_protocols_test_on_a_split_named_all(tmp_path):
    clips = opened(tmp_path / "a.pkl", {"train": TRAIN, "test": TEST, "all": SOME})
    training, test, name = labelled_clips(clips, DataSettings(), "all")
    assert [clips.names[index] for index in test] == SOME and name == "all"
    assert [clips.names[index] for index in training] == TRAIN
    _, test, name = labelled_clips(clips, DataSettings(), None)
    assert [clips.names[index] for index in test] == TEST and name == "test"


def test_sequences_need_no_labels_to_match_a_test_split(tmp_path):
    rng = np.random.default_rng(0)
    clips = [annotation(name, rng, label=-1, frames=8) for name in NAMES]
    path = write_clips(tmp_path / "a.pkl", clips, {"xsub_train": TRAIN, "xsub_val": TEST, "other": SOME})
    found = open_clips(path, DataSettings())
    assert matching_test_split(found, DataSettings(), labelled=False) == "xsub_val"
    with pytest.raises(UsageError, match="choose one with --split"):
        matching_test_split(found, DataSettings())

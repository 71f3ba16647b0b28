"""Small pre-trained encoders, and files of clips and of long sequences to measure them on."""

import shutil
from pathlib import Path

import pytest

from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.formats.pickles import read_pickle
from test_support.clips.made_motions import write_motions
from test_support.networks.made_encoders import pretrain, write_long

ONE = {"mamp": ("epochs=1", "warmup_epochs=0"), "pcm3": ("epochs=1", "lr_steps=[]")}


@pytest.fixture(scope="package")
def data(tmp_path_factory):
    """Synthetic motions with the splits of two protocols."""
    path = write_motions(tmp_path_factory.mktemp("data") / "motions.pkl")
    content = read_pickle(path)
    names = [clip["frame_dir"] for clip in content["annotations"]]
    parts = {"xsub_train": names[12:], "xsub_val": names[:12], "xview_train": names[:-15], "xview_val": names[-15:]}
    write_pickle(path, {**content, "split": parts})
    return path


def encoder(method: str, data: Path, out: Path, *words: object) -> Path:
    result = pretrain(method, data, out, *ONE[method], *words)
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="package")
def mamp(data, tmp_path_factory):
    return encoder("mamp", data, tmp_path_factory.mktemp("mamp") / "run", "--split", "xsub_train")


@pytest.fixture(scope="package")
def streams(data, tmp_path_factory):
    """PCM3's three streams, the last pre-trained for another protocol."""
    folder = tmp_path_factory.mktemp("pcm3")
    splits = {"joint": "xsub_train", "bone": "xsub_train", "motion": "xview_train"}
    return [
        encoder("pcm3", data, folder / stream, f"pcm3.stream={stream}", "--split", split)
        for stream, split in splits.items()
    ]


@pytest.fixture(scope="package")
def long(tmp_path_factory):
    return write_long(tmp_path_factory.mktemp("long") / "long.pkl", splits=("train", "test"))


@pytest.fixture
def own(mamp, tmp_path):
    """A copy of the run for a single test."""
    (tmp_path / "own").mkdir()
    shutil.copy(mamp / "best.safetensors", tmp_path / "own")
    return tmp_path / "own"

"""Whatever the optional fields of a clip contain, commands use it or name the field; they never end in a traceback."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from pipeline.datasets.comparison import compare_files
from pipeline.datasets.exporting import export_file
from pipeline.datasets.merging import merge
from pipeline.datasets.relabel import relabel
from pipeline.datasets.statistics import statistics_of
from pose_extraction.errors import AnnotationError, SkelpipeError
from pose_extraction.formats.clip_arrays import optional_array, track_ids
from pose_extraction.formats.pickle_writing import write_pickle
from recognition.data.clips import open_clips
from recognition.settings import DataSettings
from test_support.clips.odd_values import odd_values

FIELDS = (
    "time",
    "fps",
    "frame_index",
    "track_id",
    "imputed",
    "source",
    "estimator",
    "history",
    "problems",
    "quality",
    "group",
    "layout",
    "original_shape",
    "label_name",
)
FRAMES = 4

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fields")
    (folder / "labels.csv").write_text("file,label\na.mp4,wave\n")
    (folder / "tracks.csv").write_text("file,label,track\na.mp4,wave,0\n")
    return folder


def clip(**fields: Any) -> dict[str, Any]:
    keypoint = np.random.default_rng(0).uniform(5, 400, (2, FRAMES, 17, 2)).astype(np.float32)
    return {
        "frame_dir": "a",
        "label": 0,
        "total_frames": FRAMES,
        "img_shape": (480, 640),
        "keypoint": keypoint,
        "keypoint_score": np.full(keypoint.shape[:3], 0.5, np.float32),
        **fields,
    }


def uses(folder: Path, path: Path) -> dict[str, Callable[[], object]]:
    """What the commands do with a skeleton file."""
    return {
        "open": lambda: open_clips(path, DataSettings())[0],
        "coco": lambda: export_file(path, "coco", folder / "coco"),
        "trc": lambda: export_file(path, "trc", folder / "trc"),
        "openpose": lambda: export_file(path, "openpose", folder / "openpose"),
        "stats": lambda: statistics_of([path]),
        "compare": lambda: compare_files(path, path),
        "merge": lambda: merge([path], folder / "merged.pkl"),
        "shards": lambda: merge([path], folder / "merged.parquet"),
        "label": lambda: relabel(path, folder / "labels.csv", folder / "labelled.pkl"),
        "tracks": lambda: relabel(path, folder / "tracks.csv", folder / "labelled.pkl"),
    }


def test_numbers_of_equal_value_are_read() -> None:
    one = clip(track_id=[3.0, 4.0], imputed=np.ones((2, FRAMES, 17), np.int64))
    assert track_ids(one) == [3, 4]
    read = optional_array(one, "imputed", "b", (2, FRAMES, 17), "a")
    assert read is not None and read.dtype == bool and read.all()
    with pytest.raises(AnnotationError, match="track_id is"):
        track_ids(clip(track_id=[0.5, 1.0]))


@given(fields=st.dictionaries(st.sampled_from(FIELDS), odd_values(), min_size=1, max_size=2))
@example(fields={"time": "x"})
@example(fields={"time": np.full(FRAMES, np.nan)})
@example(fields={"fps": "25"})
@example(fields={"fps": float("nan")})
@example(fields={"track_id": ["a", "b"]})
@example(fields={"track_id": np.arange(3)})
@example(fields={"imputed": np.zeros((2, 2), bool)})
@example(fields={"layout": [1]})
@example(fields={"source": 3})
@example(fields={"fps": np.zeros(0, bool)})
@example(fields={"fps": [25, [30]]})
@example(fields={"time": None, "group": []})
@example(fields={"frame_index": [0, 0, 0, 0]})
def test_optional_fields_cause_no_traceback(folder: Path, fields: dict[str, Any]) -> None:
    path = folder / "clips.pkl"
    # One file per person: files of an earlier example with more persons would be refused.
    shutil.rmtree(folder / "trc", ignore_errors=True)
    try:
        write_pickle(path, {"split": {"all": ["a"]}, "annotations": [clip(**fields)], "label_names": ["wave"]})
    except SkelpipeError:
        return
    for name, use in uses(folder, path).items():
        try:
            use()
        except SkelpipeError as error:
            event(f"{name} refused")
            assert str(path) in str(error) or "clip 'a'" in str(error), error

"""Any content of a skeleton file is read as it was written, or refused with a message; it never causes a traceback."""

import copy
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st

from pose_extraction.errors import AnnotationError, SkelpipeError
from pose_extraction.formats.annotations import merge_files
from pose_extraction.formats.foreign import convert
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.formats.validation import read_data_set, validate_dataset
from pose_extraction.skeleton import COCO17
from recognition.data.clips import open_clips
from recognition.settings import DataSettings
from test_support.clips.odd_values import NAMES, is_equal, odd_values

# Larger indices of the pickle's memo would take gigabytes of memory.
MOST_MEMO = 10_000

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("skeletons") / "clips.pkl"


@st.composite
def clips(draw: st.DrawFn, name: str, num_classes: int, *, is_flat: bool) -> dict[str, Any]:
    """Return the annotation of a clip of one or two persons, in which some joints were not seen."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    persons, frames, dimensions = draw(st.integers(1, 2)), draw(st.integers(1, 4)), 2 if is_flat else 3
    height, width = draw(st.integers(50, 1000)), draw(st.integers(50, 1000))
    keypoint = rng.uniform(1, 50, (persons, frames, COCO17.num_joints, dimensions)).astype(draw(st.sampled_from("ef")))
    score = rng.uniform(0.1, 1, keypoint.shape[:3]).astype(np.float32)
    unseen = rng.random(score.shape) < 0.2
    keypoint[unseen], score[unseen] = 0, 0
    clip: dict[str, Any] = {
        "frame_dir": name,
        "label": draw(st.integers(-1, num_classes - 1)),
        "total_frames": frames,
        "keypoint": keypoint,
        "keypoint_score": score,
    }
    if is_flat:
        clip["img_shape"] = (height, width)
    if draw(st.booleans()):
        clip["time"] = np.arange(frames) / draw(st.integers(1, 60))
    if draw(st.booleans()):
        clip["group"] = draw(NAMES)
    return clip


@st.composite
def data_sets(draw: st.DrawFn) -> dict[str, Any]:
    """Return a valid data set."""
    names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    classes = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    is_flat = draw(st.booleans())
    annotations = [draw(clips(name, len(classes), is_flat=is_flat)) for name in names]
    split = draw(st.dictionaries(NAMES, st.lists(st.sampled_from(names), unique=True, max_size=3), max_size=2))
    return {"split": split, "annotations": annotations, "label_names": classes}


@st.composite
def odd_data_sets(draw: st.DrawFn) -> Any:
    """Return a data set in which one to three entries are wrong, or anything else."""
    data = draw(data_sets())
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(["clip", "clip", "clip", "joints", "top", "split", "all"]))
        value = draw(odd_values())
        first = data["annotations"][0] if isinstance(data, dict) and data.get("annotations") else None
        if place == "all":
            return draw(st.sampled_from([value, data["annotations"], first]))
        if place == "top":
            data[draw(st.sampled_from(["split", "annotations", "label_names", "raw"]))] = value
        elif place == "split" and isinstance(data["split"], dict):
            data["split"][draw(st.sampled_from(["train", 1, None]))] = value
        elif isinstance(first, dict) and place == "clip":
            fields = [*first, "filename", "label_name", "fps", "time", "track_id", "estimator", "history", "frame_inds"]
            first[draw(st.sampled_from(fields))] = value
        elif isinstance(first, dict) and isinstance(first.get("keypoint"), np.ndarray) and first["keypoint"].size:
            changed = first["keypoint"].copy()
            if changed.dtype.kind == "f":
                changed.flat[draw(st.integers(0, changed.size - 1))] = draw(st.floats(width=16))
                with np.errstate(over="ignore"):
                    first["keypoint"] = changed * np.array(draw(st.sampled_from([1, 0.01, 1000])), changed.dtype)
        data["annotations"] = data["annotations"] if isinstance(data["annotations"], list) else [data["annotations"]]
    return data


@given(data=data_sets())
def test_what_is_written_is_read_back(path: Path, data: dict[str, Any]) -> None:
    write_pickle(path, data)
    assert is_equal(read_data_set(path), data)
    clips = open_clips(path, DataSettings(), leave_out_empty=True)
    known = {clip["frame_dir"]: clip for clip in data["annotations"]}
    for index, name in enumerate(clips.names):
        keypoint, score = clips.stored(index)
        assert is_equal(keypoint, known[name]["keypoint"]) and is_equal(score, known[name]["keypoint_score"])
        assert int(clips.labels[index]) == known[name]["label"]
    for split, names in data["split"].items():
        assert {clips.names[index] for index in clips.splits[split]} == set(names) & set(clips.names)


@given(data=data_sets())
def test_merging_keeps_the_names_of_labels(path: Path, data: dict[str, Any]) -> None:
    write_pickle(path, data)
    before = {clip["frame_dir"]: clip["label"] for clip in data["annotations"]}
    merged = merge_files([path])
    for clip in merged["annotations"]:
        label = before[clip["frame_dir"]]
        if label < 0:
            assert clip["label"] < 0
        else:
            assert merged["label_names"][clip["label"]] == data["label_names"][label]


@given(data=odd_data_sets())
def test_what_is_wrong_is_refused_and_what_is_converted_stays_so(path: Path, data: Any) -> None:
    try:
        write_pickle(path, data)
    except AnnotationError:
        # Pickles of other programs contain this, too.
        path.write_bytes(pickle.dumps(data))
    try:
        read = read_data_set(path)
    except SkelpipeError as error:
        event("refused")
        assert str(path) in str(error), error
    else:
        event("read")
        again, _ = convert(copy.deepcopy(read), path)
        validate_dataset(again, path)
        assert is_equal(again, read)
        merge_files([path])
    for skip_bad in (False, True):
        try:
            usable = open_clips(path, DataSettings(skip_bad=skip_bad), leave_out_empty=True)
        except SkelpipeError as error:
            assert str(path) in str(error), error
        else:
            for index in range(len(usable)):
                clip = usable[index]
                assert np.isfinite(clip.keypoint[clip.score > 0]).all()
                assert (np.diff(clip.seconds) > 0).all() and len(clip.seconds) == clip.num_frames


@given(data=data_sets(), damage=st.data())
def test_damaged_bytes_are_refused_or_read(path: Path, data: dict[str, Any], damage: st.DataObject) -> None:
    write_pickle(path, data)
    content = bytearray(path.read_bytes())
    for _ in range(damage.draw(st.integers(1, 4))):
        start = damage.draw(st.integers(0, len(content)))
        stop = start + damage.draw(st.integers(0, 4))
        content[start:stop] = damage.draw(st.binary(max_size=6))
    assume(_takes_little_memory(bytes(content)))
    path.write_bytes(content)
    try:
        read_data_set(path)
    except AnnotationError as error:
        event("refused")
        assert str(path) in str(error)


def _takes_little_memory(content: bytes) -> bool:
    try:
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name.endswith("PUT") and isinstance(argument, int) and argument > MOST_MEMO:
                return False
    except Exception:  # noqa: BLE001, any damage
        return True
    return True

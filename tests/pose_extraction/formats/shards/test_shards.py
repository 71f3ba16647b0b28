"""Data sets in shards hold exactly what a skeleton file holds, and find damage."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.datasets.merging import merge
from pose_extraction.errors import AnnotationError, UsageError
from pose_extraction.formats.annotations import data_set
from pose_extraction.formats.person_labels import Anchor, PersonLabel, stored_form
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.formats.pickles import read_pickle
from pose_extraction.formats.shards import arrow
from pose_extraction.formats.shards.manifest import CLIPS, INDEX, LABELS, MANIFEST, read_manifest
from pose_extraction.formats.shards.plain import from_text, to_text
from pose_extraction.formats.shards.shard_set import ShardSet
from pose_extraction.formats.shards.update import ShardUpdate, write_shards
from pose_extraction.formats.storage import stream_data_set
from pose_extraction.formats.validation import read_data_set
from test_support.clips.made_data_sets import made_ntu60

FLOATS = st.floats(allow_nan=True, allow_infinity=True)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=3) | st.integers() | st.just("$array"), inner, max_size=3),
    ),
    max_leaves=6,
)
ARRAYS = st.builds(
    lambda dtype, shape, seed: np.random.default_rng(seed).integers(0, 2, shape).astype(dtype),
    st.sampled_from(["f2", ">f4", "f8", "i1", "u2", "i8", "?", "c8", "S3", "U2"]),
    st.lists(st.integers(0, 3), max_size=3),
    st.integers(0, 99),
)


def clip(name: str, *, persons: int = 1, frames: int = 6, dtype: str = "f4", seed: int = 0, **more: Any) -> dict:
    """A clip in the form that skeleton files have."""
    rng = np.random.default_rng(seed)
    keypoint = rng.uniform(0, 300, (persons, frames, 17, 2)).astype(dtype)
    return {
        "frame_dir": name,
        "label": -1,
        "total_frames": frames,
        "img_shape": (240, 320),
        "original_shape": (240, 320),
        "keypoint": keypoint,
        "keypoint_score": rng.uniform(0.1, 1, keypoint.shape[:3]).astype(dtype),
        "label_name": None,
    } | more


def names_of(annotations: Any) -> list[str]:
    return sorted(annotation["frame_dir"] for annotation in annotations)


@pytest.mark.slow
@given(st.dictionaries(st.text(max_size=4), PLAIN | ARRAYS, max_size=4))
@settings(max_examples=60, deadline=None)
def test_plain_values_are_the_same_after_json(value: dict) -> None:
    again = from_text(to_text(value, "value"))
    assert repr(again) == repr(value)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.sampled_from(["f2", "f4", "f8", ">f4"]),
            st.sampled_from([None, "run", "jump", "walk"]),
            st.dictionaries(
                st.sampled_from(
                    ["fps", "time", "group", "source", "history", "imputed", "img_shape", "track_id", "person_labels"]
                )
                | st.text("abc", min_size=3, max_size=4),
                PLAIN | ARRAYS,
                max_size=4,
            ),
        ),
        min_size=1,
        max_size=5,
    )
)
@settings(max_examples=12, deadline=None)
def test_pickle_to_shards_to_pickle_is_the_same(tmp_path_factory: pytest.TempPathFactory, drawn: list) -> None:
    folder = tmp_path_factory.mktemp("round")
    clips = []
    for number, (persons, dtype, label_name, more) in enumerate(drawn):
        # A size, a group or labels of persons of any type are refused in a skeleton file, too, and a rate must be a
        # number.
        allowed = {key: value for key, value in more.items() if key not in ("img_shape", "group", "time", "fps")}
        allowed |= {"fps": 30} if "fps" in more else {}
        allowed |= {"group": 7} if "group" in more else {}
        allowed |= {"img_shape": [240, 320]} if "img_shape" in more else {}
        hop, run = PersonLabel("hop", 3, Anchor(0.1, (1.0, 2.0, 3.5, 4.0))), PersonLabel("run", 4, splits=("a",))
        allowed |= {"person_labels": stored_form([hop, run])} if "person_labels" in more else {}
        one = clip(f"c{number}", persons=persons, dtype=dtype, seed=number) | allowed
        clips.append(one | {"label_name": label_name})
    splits = {"train": [one["frame_dir"] for one in clips[::2]], "test": [one["frame_dir"] for one in clips[1::2]]}
    write_pickle(folder / "a.pkl", data_set(clips, splits, note=["kept", 1.5]))
    merge([folder / "a.pkl"], folder / "direct.pkl")
    merge([folder / "a.pkl"], folder / "b.parquet")
    merge([folder / "b.parquet"], folder / "back.pkl")
    back, direct = (to_text(read_pickle(folder / name), name) for name in ("back.pkl", "direct.pkl"))
    assert back == direct


def test_values_that_a_column_cannot_hold_are_stored_all_the_same(tmp_path: Path) -> None:
    one = clip("a", dtype="f8", fps=25, group=3, time=np.arange(6, dtype=np.float32), problems=("a", "b"))
    one |= {"source": "caf\udce9.mp4", "imputed": np.zeros(3, bool), "box": np.ones((1, 6, 4), np.float32), "x": {1: 2}}
    one["keypoint_score"] = one["keypoint_score"] > 0.5
    write_shards(tmp_path / "a.parquet", {"annotations": [one], "split": {}})
    (again,) = read_data_set(tmp_path / "a.parquet")["annotations"]
    assert list(again) == list(one)
    for key, value in one.items():
        assert type(again[key]) is type(value), key
        assert np.array_equal(again[key], value) and getattr(again[key], "dtype", 0) == getattr(value, "dtype", 0), key
    # Training reads the rounded joints, as it always computes with them.
    keypoint, score = ShardSet(tmp_path / "a.parquet").joints(0)
    assert np.array_equal(keypoint.astype(np.float32), one["keypoint"].astype(np.float32))
    assert np.array_equal(score, one["keypoint_score"])


def test_what_no_skeleton_file_holds_is_refused_with_its_place(tmp_path: Path) -> None:
    for bad, words in (
        ({"extra": {1, 2}}, "clip 'a'.*type set"),
        ({"extra": [object()]}, r"clip 'a'\['extra'\]\[0\] has type object"),
        ({5: 1}, "key 5 must be text"),
        ({"frame_dir": "caf\udce9"}, "must be Unicode text"),
    ):
        data = {"annotations": [clip("a") | bad], "split": {}}
        with pytest.raises(AnnotationError, match=words):
            write_shards(tmp_path / "a.parquet", data)
    assert not (tmp_path / "a.parquet" / MANIFEST).exists()


def test_single_clips_are_read_from_pages_of_every_size(tmp_path: Path) -> None:
    # One row group with pages of many short clips, of one clip, and of clips without persons or scores.
    clips = [
        clip(f"c{number:03d}", persons=number % 3, frames=1 + number % 7 * 40, seed=number) for number in range(60)
    ]
    for number in range(0, 60, 7):
        del clips[number]["keypoint_score"]
    for number in range(0, 60, 2):
        clips[number]["time"] = np.arange(clips[number]["total_frames"]) / 30
    write_shards(tmp_path / "a.parquet", {"annotations": clips, "split": {}})
    shards = ShardSet(tmp_path / "a.parquet")
    assert shards.names == [one["frame_dir"] for one in clips]
    for index in np.random.default_rng(0).permutation(60):
        keypoint, score = shards.joints(int(index))
        assert np.array_equal(keypoint, clips[index]["keypoint"]) and keypoint.dtype == np.float32
        expected = clips[index].get("keypoint_score")
        assert (score is None) == (expected is None) and (score is None or np.array_equal(score, expected))
        assert np.array_equal(shards.time(int(index)), clips[index].get("time", []))
        assert np.array_equal(shards.annotation(int(index))["keypoint"], keypoint)


def test_many_shards_are_read_like_one(tmp_path: Path) -> None:
    clips = [clip(f"c{number * 7 % 40:03d}", frames=50, seed=number) for number in range(40)]
    (tmp_path / "a.parquet").mkdir()
    update = ShardUpdate(tmp_path / "a.parquet", shard_bytes=1, group_bytes=1)
    for one in clips:
        update.add(one, ["train"], "a")
    update.finish([])
    shards = ShardSet(tmp_path / "a.parquet", verify=True)
    assert names_of(clips) == shards.names
    by_name = {one["frame_dir"]: one for one in clips}
    for index, name in enumerate(shards.names):
        assert np.array_equal(shards.joints(index)[0], by_name[name]["keypoint"])
        assert shards.annotation(index)["frame_dir"] == name
    assert names_of(shards.annotations()) == shards.names


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """A data set of three shards with four clips each."""
    folder = tmp_path / "three.parquet"
    for part in range(3):
        clips = [clip(f"{part}{number}", label_name="run", seed=part * 4 + number) for number in range(4)]
        write_pickle(tmp_path / f"{part}.pkl", data_set(clips, {"train": [f"{part}0"]}))
        merge([tmp_path / f"{part}.pkl"], folder)
    assert len(read_manifest(folder).shards) == 3
    return folder


@pytest.mark.parametrize("how", ["missing", "cut", "changed"])
def test_a_damaged_shard_is_reported_and_the_others_are_used(three: Path, how: str) -> None:
    path = three / CLIPS / read_manifest(three).shards[1].name
    content = bytearray(path.read_bytes())
    path.unlink()
    if how == "cut":
        path.write_bytes(content[:-100])
    elif how == "changed":
        content[len(content) // 3] ^= 1
        path.write_bytes(content)
    shards = ShardSet(three, verify=how == "changed")
    assert [name[0] for name in shards.names] == ["0"] * 4 + ["2"] * 4
    (sentence,) = shards.damaged
    assert path.name in sentence and "4 clips are left out" in sentence and "restore" in sentence
    assert len(names_of(read_data_set(three)["annotations"])) == 8
    # Merged again from where they came, the clips are back.
    merge([three.parent / "1.pkl"], three)
    if how != "changed":
        assert len(ShardSet(three, verify=True)) == 12


def test_a_changed_byte_is_found_when_the_clip_is_read(three: Path) -> None:
    shards = ShardSet(three)
    page = shards._pages["keypoint"][5]
    path = three / CLIPS / shards.shards[shards.shard_of[5]].name
    content = bytearray(path.read_bytes())
    content[int(page["offset"]) + 20] ^= 1
    path.write_bytes(content)
    with pytest.raises(AnnotationError, match=rf"{path.name}: damaged at byte .*--skip-bad"):
        shards.joints(5)
    with pytest.raises(AnnotationError, match=rf"{path.name}: damaged"):
        shards.annotation(5)
    shards.joints(0)


def test_index_and_labels_can_be_lost(three: Path) -> None:
    for number, path in enumerate((three / INDEX).iterdir()):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes((b"", content, content[:99])[number])
    shards = ShardSet(three)
    assert not shards.damaged and len(shards) == 12
    assert len(shards.joints(7)[0]) == 1
    (three / LABELS).unlink()
    with pytest.raises(AnnotationError, match=r"labels\.parquet.*restore it, or merge"):
        ShardSet(three)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "not a manifest"),
        (b'{"format": "other"}', "format 'other'"),
        (b'{"format": "skelpipe shards", "version": 99}', "update skelpipe"),
        (None, "not a data set.*--to parquet"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_explained(three: Path, content: bytes | None, words: str) -> None:
    (three / MANIFEST).unlink()
    if content is not None:
        (three / MANIFEST).write_bytes(content)
    with pytest.raises(AnnotationError, match=words):
        read_data_set(three)


def test_a_killed_first_merge_is_repeated(three: Path) -> None:
    (three / MANIFEST).unlink()
    (three / CLIPS / ".part").write_bytes(b"half a shard")
    merge([three.parent / "1.pkl"], three)
    assert len(ShardSet(three, verify=True)) == 4
    assert len(list((three / CLIPS).iterdir())) == len(list((three / INDEX).iterdir())) == 1


def test_a_manifest_cannot_point_outside(three: Path) -> None:
    content = json.loads((three / MANIFEST).read_text())
    content["shards"][0]["name"] = "../../elsewhere.parquet"
    (three / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(AnnotationError, match=r"elsewhere\.parquet' is not the name of a shard"):
        ShardSet(three)


def test_missing_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"run pip install '\.\[parquet\]'"):
        arrow.arrow()


def test_a_whole_data_set_streams_in_both_forms(tmp_path: Path) -> None:
    data = made_ntu60(30, classes=3)
    write_pickle(tmp_path / "a.pkl", data)
    merge([tmp_path / "a.pkl"], tmp_path / "b.pkl")
    merge([tmp_path / "a.pkl"], tmp_path / "a.parquet")
    one, other = (stream_data_set(tmp_path / name) for name in ("b.pkl", "a.parquet"))
    assert one[1] == other[1]
    # Rows keep the order in which they were written.
    for left, right in zip(one[0], sorted(other[0], key=lambda clip: clip["frame_dir"]), strict=True):
        assert left.keys() == right.keys() and np.array_equal(left["keypoint"], right["keypoint"])

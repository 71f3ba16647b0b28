"""Skeleton files of other programs: what is clear is accepted, what is not is refused with the fix."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pose_extraction.errors import AnnotationError
from pose_extraction.formats.foreign import convert
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.formats.validation import read_data_set, validate_dataset

PATH = Path("some.pkl")
HEIGHT, WIDTH = 480, 640


def clip(name: Any = "a", label: Any = 0, **changes: Any) -> dict[str, Any]:
    """A valid clip of one person, with joints over the whole frame."""
    random = np.random.default_rng(len(str(name)))
    keypoint = random.uniform((5, 5), (WIDTH - 5, HEIGHT - 5), (1, 6, 17, 2)).astype(np.float32)
    fields = {
        "frame_dir": name,
        "label": label,
        "total_frames": 6,
        "img_shape": (HEIGHT, WIDTH),
        "keypoint": keypoint,
        "keypoint_score": random.uniform(0.2, 0.9, (1, 6, 17)).astype(np.float32),
    } | changes
    return {key: value for key, value in fields.items() if value is not None}


def converted(*clips: Any, split: Any = None, **more: Any) -> tuple[dict[str, Any], list[str]]:
    names = [one.get("frame_dir", one.get("filename")) for one in clips]
    names = [name for name in names if not isinstance(name, list)]
    data, notes = convert({"annotations": list(clips), "split": split or {"train": names}, **more}, PATH)
    validate_dataset(data, PATH)
    return data, notes


def test_a_valid_file_stays_as_it_is() -> None:
    one = clip()
    data, notes = converted(one, clip("b", -1), label_names=["wave"])
    assert notes == []
    assert all(data["annotations"][0][key] is value for key, value in one.items() if key != "img_shape")


@pytest.mark.parametrize(
    ("changes", "field", "expected"),
    [
        ({"frame_dir": 12}, "frame_dir", "12"),
        ({"frame_dir": np.int64(12)}, "frame_dir", "12"),
        ({"frame_dir": None, "filename": "b"}, "frame_dir", "b"),
        ({"label": np.int64(3)}, "label", 3),
        ({"label": np.array([3])}, "label", 3),
        ({"label": 3.0}, "label", 3),
        ({"total_frames": np.int32(6)}, "total_frames", 6),
        ({"total_frames": None}, "total_frames", 6),
        ({"group": np.int64(4)}, "group", 4),
        ({"img_shape": np.array([HEIGHT, WIDTH])}, "img_shape", (HEIGHT, WIDTH)),
        ({"img_shape": (480.0, 640.0)}, "img_shape", (HEIGHT, WIDTH)),
        ({"img_shape": [480, 640, 3]}, "img_shape", (HEIGHT, WIDTH)),
    ],
)
def test_plain_values_of_other_types_are_accepted(changes: dict[str, Any], field: str, expected: Any) -> None:
    data, notes = converted(clip(**changes))
    assert data["annotations"][0][field] == expected and notes == []
    assert type(data["annotations"][0][field]) is type(expected)


@pytest.mark.parametrize("names", [np.array(["a", "b"]), ("a", "b"), {"a", "b"}, frozenset("ab")])
def test_splits_of_other_types_are_accepted(names: Any) -> None:
    data, _ = converted(clip("a"), clip("b"), split={"train": names})
    assert sorted(data["split"]["train"]) == ["a", "b"]


def test_numbers_as_ids_are_accepted_in_splits() -> None:
    data, _ = converted(clip(7), clip(8), split={"train": np.array([7]), "test": [8]})
    assert data["split"] == {"train": ["7"], "test": ["8"]}


@pytest.mark.parametrize(
    "names",
    [
        {0: "wave", 1: "run"},
        {"wave": 0, "run": 1},
        {"run": np.int64(1), "wave": np.int64(0)},
        {"0": "wave", "1": "run"},
        np.array(["wave", "run"]),
    ],
)
def test_names_of_classes_may_be_a_dictionary_or_an_array(names: Any) -> None:
    data, _ = converted(clip(), label_names=names)
    assert data["label_names"] == ["wave", "run"]


def test_no_names_of_classes_are_no_names() -> None:
    data, _ = converted(clip(), label_names=None)
    assert "label_names" not in data


def test_names_with_wrong_numbers_are_refused() -> None:
    with pytest.raises(AnnotationError, match=r"does not number its 2 names from 0 to 1.*correct the numbers"):
        converted(clip(), label_names={1: "wave", 2: "run"})


def test_labels_may_be_names() -> None:
    data, notes = converted(clip("a", "wave"), clip("b", "run"), clip("c", "wave"), clip("d", None) | {"label": None})
    assert data["label_names"] == ["run", "wave"]
    assert [one["label"] for one in data["annotations"]] == [1, 0, 1, -1]
    assert notes == ["labels are names; numbered as 0 run, 1 wave"]
    data, notes = converted(clip("a", "wave"), label_names=["wave", "run"])
    assert data["annotations"][0]["label"] == 0 and notes == []
    # As in an empty cell of a label table.
    data, _ = converted(clip("a", "wave"), clip("b", ""), clip("c", " "))
    assert data["label_names"] == ["wave"] and [one["label"] for one in data["annotations"]] == [0, -1, -1]


@pytest.mark.parametrize(
    ("changes", "top", "message"),
    [
        ({}, {"split": {1: ["a"], "1": []}}, "two splits have the name '1'; rename one"),
        ({}, {"split": {None: ["a"]}}, "the name of a split is None, must be text"),
        ({}, {"label_names": {("wave",): [0]}}, "does not number its 1 names"),
        ({}, {"label_names": ["wave", "wave"]}, "contains 'wave' twice"),
        ({"label": np.array([0, 1])}, {}, "label is array.*must be a class number"),
        ({"label": -7}, {}, "has label -7, must be a class number from 0, or -1"),
        (
            {"label_name": "run"},
            {"label_names": ["wave", "run"]},
            "label is 0, which is 'wave', but label_name is 'run'",
        ),
        ({"label_name": ["wave"]}, {}, "label_name is .*must be the name of its class"),
        ({"total_frames": np.array([4, 4])}, {}, "total_frames is array.*must be a number of frames"),
        ({"img_shape": "480x640", "keypoint": np.full((1, 6, 17, 2), 0.5)}, {}, "img_shape is '480x640', must be"),
        ({"img_shape": (10**400, 640)}, {}, "img_shape is .*must be"),
        ({"keypoint": [[10**400]]}, {}, "keypoint is list, must be floats"),
    ],
)
def test_malformed_entries_are_refused_with_the_clip_and_the_value(
    changes: dict[str, Any], top: dict[str, Any], message: str
) -> None:
    with pytest.raises(AnnotationError, match=message) as refusal:
        converted(clip("a") | changes, **top)
    assert str(PATH) in str(refusal.value)


def test_coordinates_of_a_few_pixels_are_not_taken_for_shares_of_the_frame() -> None:
    """They would be multiplied again whenever the file is read."""
    small = np.random.default_rng(0).uniform(0.001, 0.05, (1, 6, 17, 2)).astype(np.float32)
    data, notes = converted(clip("a") | {"keypoint": small})
    assert notes == [] and np.array_equal(data["annotations"][0]["keypoint"], small)


def test_labels_of_two_kinds_are_refused() -> None:
    with pytest.raises(AnnotationError, match="clip 'a' has 'wave', clip 'b' has 1; use one or the other"):
        converted(clip("a", "wave"), clip("b", 1))
    with pytest.raises(
        AnnotationError, match=r"clip 'a' has the label 'jump', which is not in \"label_names\"; add it"
    ):
        converted(clip("a", "jump"), label_names=["wave"])


@pytest.mark.parametrize("content", [[clip("a"), clip("b")], (clip("a"), clip("b"))])
def test_a_list_of_annotations_is_a_data_set(content: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_pickle(tmp_path / "list.pkl", content)
    with caplog.at_level(logging.WARNING):
        data = read_data_set(tmp_path / "list.pkl")
    assert data["split"] == {"all": ["a", "b"]}
    assert "list.pkl: the file is a list of annotations, without splits; all clips are used" in caplog.text


def test_the_dictionary_of_one_clip_is_a_data_set() -> None:
    data, notes = convert(clip("a"), PATH)
    validate_dataset(data, PATH)
    assert [one["frame_dir"] for one in data["annotations"]] == ["a"] and data["split"] == {"all": ["a"]}
    assert notes == ["the file is the annotation of one clip, without splits; all clips are used"]


def test_annotations_by_id_are_a_data_set() -> None:
    clips = {name: {key: value for key, value in clip(name).items() if key != "frame_dir"} for name in ("a", "b")}
    for content in (clips, {"annotations": clips, "split": {"train": ["a", "b"]}}):
        data, _ = convert(content, PATH)
        validate_dataset(data, PATH)
        assert [one["frame_dir"] for one in data["annotations"]] == ["a", "b"]
        assert next(iter(data["split"].values())) == ["a", "b"]
    data, _ = convert({"annotations": np.array([clip("a"), clip("b")], object), "split": {"train": ["a"]}}, PATH)
    validate_dataset(data, PATH)


def test_whole_numbers_and_lists_are_accepted_as_joints() -> None:
    whole = clip()["keypoint"].astype(np.int64)
    for keypoint in (whole, whole.tolist(), whole[0]):
        (one,) = converted(clip(keypoint=keypoint))[0]["annotations"]
        np.testing.assert_array_equal(one["keypoint"], whole)
        assert one["keypoint"].dtype == np.float32


@pytest.mark.parametrize("has_score", [True, False])
def test_nan_is_a_joint_that_was_not_seen(has_score: bool) -> None:
    one = clip() if has_score else clip(keypoint_score=None)
    one["keypoint"][0, 2, 5] = np.nan
    (after,) = converted(one)[0]["annotations"]
    assert (after["keypoint"][0, 2, 5] == 0).all() and after["keypoint_score"][0, 2, 5] == 0
    assert (after["keypoint_score"] > 0).sum() == 6 * 17 - 1


def test_nan_in_3d_is_not_the_origin() -> None:
    keypoint = np.random.default_rng(0).normal(size=(1, 6, 25, 3)).astype(np.float32)
    keypoint[0, :, 0] = 0
    keypoint[0, 3, 4] = np.nan
    (after,) = converted(clip(keypoint=keypoint, keypoint_score=None, img_shape=None))[0]["annotations"]
    assert after["keypoint_score"][0, 3, 4] == 0 and (after["keypoint_score"][0, :, 0] == 1).all()


def with_third(third: np.ndarray, **changes: Any) -> dict[str, Any]:
    """A clip without scores whose joints have a third channel."""
    joined = np.concatenate([clip()["keypoint"], third[..., None].astype(np.float32)], -1)
    return clip(**{"keypoint": joined, "keypoint_score": None, **changes})


def test_a_third_channel_of_scores_is_not_depth() -> None:
    one = clip()
    note = "the third channel of the joints is in [0, 1], so it is read as their scores: 2D, not 3D"
    for scores in (None, one["keypoint_score"].copy()):
        data, notes = converted(with_third(one["keypoint_score"], keypoint_score=scores))
        (after,) = data["annotations"]
        np.testing.assert_array_equal(after["keypoint"], one["keypoint"])
        np.testing.assert_array_equal(after["keypoint_score"], one["keypoint_score"])
        assert notes == [note]
    # In metres, it is depth.
    metres = np.random.default_rng(0).uniform(0, 1, (1, 6, 17, 3)).astype(np.float32)
    data, notes = converted(clip(keypoint=metres, keypoint_score=None, img_shape=None))
    assert data["annotations"][0]["keypoint"].shape[3] == 3 and notes == []


def test_a_third_channel_of_scores_may_have_joints_that_were_not_seen() -> None:
    one = with_third(clip()["keypoint_score"])
    one["keypoint"][0, 2, 5] = np.nan
    (after,) = converted(one)[0]["annotations"]
    assert after["keypoint"].shape[3] == 2 and (after["keypoint"][0, 2, 5] == 0).all()
    assert after["keypoint_score"][0, 2, 5] == 0 and after["keypoint_score"][0, 2, 6] == one["keypoint"][0, 2, 6, 2]


def test_a_third_channel_next_to_a_malformed_size_is_no_traceback() -> None:
    for size in (("480", "640"), (None, None), (480,)):
        with pytest.raises(AnnotationError, match="img_shape"):
            converted(with_third(clip()["keypoint_score"] * 50, img_shape=size))


def test_a_third_channel_of_visibility_flags_is_not_depth() -> None:
    flags = np.random.default_rng(0).integers(0, 3, (1, 6, 17))
    data, notes = converted(with_third(flags))
    np.testing.assert_array_equal(data["annotations"][0]["keypoint_score"], flags > 0)
    assert notes == ["the third channel of the joints is 0, 1 or 2, so it is read as COCO's visibility: 2D, not 3D"]


def test_a_third_channel_of_zeros_is_ignored() -> None:
    data, notes = converted(with_third(np.zeros((1, 6, 17))))
    assert data["annotations"][0]["keypoint"].shape[3] == 2 and "keypoint_score" not in data["annotations"][0]
    assert notes == ["the third channel of the joints is 0 everywhere and is ignored: 2D, not 3D"]
    # Without a frame, it may be a plane in space.
    data, notes = converted(with_third(np.zeros((1, 6, 17)), img_shape=None))
    assert data["annotations"][0]["keypoint"].shape[3] == 3 and notes == []


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (with_third(clip()["keypoint_score"] * 8), "from 0 to 7.* next to x and y in pixels, which may be scores on"),
        (with_third(clip()["keypoint_score"] * 100), "store scores from 0 to 1 as 'keypoint_score', or remove"),
        (with_third(clip()["keypoint_score"], keypoint_score=clip()["keypoint_score"] / 2), "differs from it; remove"),
        (with_third(clip()["keypoint_score"], img_shape=None), "clip 'a' has no 'img_shape'"),
        (
            clip(keypoint=np.random.default_rng(0).random((1, 6, 17, 3), np.float32), keypoint_score=None),
            "clip 'a' has three numbers from 0 to 1 per joint, which may be shares of the frame with a score, or",
        ),
    ],
)
def test_an_ambiguous_third_channel_is_refused(one: dict[str, Any], message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        converted(one)


def test_depth_next_to_millimetres_or_with_scores_stays() -> None:
    depth = np.random.default_rng(0).uniform(1000, 3000, (1, 6, 17))
    for one in (with_third(depth), with_third(depth / 100, keypoint_score=clip()["keypoint_score"])):
        data, notes = converted(one)
        assert data["annotations"][0]["keypoint"].shape[3] == 3 and notes == []


def test_shares_of_the_frame_become_pixels() -> None:
    one = clip()
    shares = one["keypoint"] / np.array([WIDTH, HEIGHT], np.float32)
    data, notes = converted(clip(keypoint=shares))
    np.testing.assert_allclose(data["annotations"][0]["keypoint"], one["keypoint"], rtol=1e-5)
    assert len(notes) == 1 and "read as shares of the frame and multiplied by its size" in notes[0]
    with pytest.raises(
        AnnotationError, match=r"from -0\.\d\d to 0\.\d\d, which are not pixels; multiply them by the size"
    ):
        converted(clip(keypoint=shares - 0.5))


def test_shares_of_the_frame_in_some_clips_become_pixels() -> None:
    one = clip("b")
    shares = one["keypoint"] / np.array([WIDTH, HEIGHT], np.float32)
    data, notes = converted(clip("a"), clip("b", keypoint=shares))
    np.testing.assert_allclose(data["annotations"][1]["keypoint"], one["keypoint"], rtol=1e-5)
    assert len(notes) == 1 and notes[0].startswith(
        "clip 'b': coordinates up to 1, unlike the others, are read as shares"
    )
    # A few joints at the corner are pixels.
    corner = np.zeros_like(shares)
    corner[0, 0, :2] = ((0.3, 0.7), (1.1, 0.4))
    data, notes = converted(clip("a"), clip("b", keypoint=corner))
    np.testing.assert_array_equal(data["annotations"][1]["keypoint"], corner)
    assert notes == []


def test_exchanged_width_and_height() -> None:
    data, notes = converted(clip(img_shape=(WIDTH, HEIGHT)), clip("b", img_shape=(WIDTH, HEIGHT)))
    assert {one["img_shape"] for one in data["annotations"]} == {(HEIGHT, WIDTH)}
    assert len(notes) == 1 and "img_shape is read as (width, height)" in notes[0]
    # If neither fits, nothing is changed.
    data, notes = converted(clip(img_shape=(100, 200)))
    assert data["annotations"][0]["img_shape"] == (100, 200)
    assert len(notes) == 1 and "outside the frame; check img_shape, which is (height, width)" in notes[0]
    # A single clip of many.
    data, notes = converted(*(clip(f"c{number}") for number in range(40)), clip("odd", img_shape=(WIDTH, HEIGHT)))
    assert notes == ["clip 'odd': many joints are outside the frame; check img_shape, which is (height, width)"]


def test_scores_above_one() -> None:
    one = clip()
    data, notes = converted(clip(keypoint_score=one["keypoint_score"] * 100))
    np.testing.assert_allclose(data["annotations"][0]["keypoint_score"], one["keypoint_score"], rtol=1e-5)
    assert len(notes) == 1 and "read as percent" in notes[0]
    with pytest.raises(
        AnnotationError, match=r"clip 'a' has a score of .* from 0 to 1; divide all scores by the largest"
    ):
        converted(clip(keypoint_score=one["keypoint_score"] * 8))
    with pytest.raises(AnnotationError, match=r"clip 'b' has scores up to .*, but clip 'a' only up to 0.*by 100"):
        converted(one, clip("b", keypoint_score=one["keypoint_score"] * 100))
    # The same scores everywhere are not right for that.
    for value, message in ((100, "read as percent"), (2, "read as COCO's visibility")):
        data, notes = converted(clip(keypoint_score=np.full((1, 6, 17), value, np.float32)))
        assert (data["annotations"][0]["keypoint_score"] == 1).all() and message in notes[0]
    with pytest.raises(AnnotationError, match="has a score of 8"):
        converted(clip(keypoint_score=np.full((1, 6, 17), 8, np.float32)))
    # Heat maps are interpolated, which may exceed 1 a little.
    assert converted(clip(keypoint_score=one["keypoint_score"] * 1.2))[1] == []


def test_visibility_flags_as_scores() -> None:
    flags = np.random.default_rng(0).integers(0, 3, (1, 6, 17))
    for scores in (flags, flags.astype(np.float32)):
        data, notes = converted(clip(keypoint_score=scores))
        np.testing.assert_array_equal(data["annotations"][0]["keypoint_score"], flags > 0)
        assert notes == ["scores are 0, 1 or 2, so they are read as COCO's visibility"]
    data, notes = converted(clip(keypoint_score=flags > 0))
    assert data["annotations"][0]["keypoint_score"].dtype == np.float32 and notes == []


def test_negative_scores() -> None:
    scores = clip()["keypoint_score"].copy()
    scores[0, 2, 5] = -1
    data, notes = converted(clip(keypoint_score=scores))
    assert data["annotations"][0]["keypoint_score"][0, 2, 5] == 0 and notes == [
        "joints with the score -1 count as not seen"
    ]
    # Numbers before a sigmoid.
    with pytest.raises(AnnotationError, match=r"clip 'a' has a score of -.*, but scores are from 0 to 1; convert them"):
        converted(clip(keypoint_score=np.log(scores.clip(0.1)) + 1))


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_constant_scores_do_not_say_what_was_seen(value: float) -> None:
    one = clip(keypoint_score=np.full((1, 6, 17), value, np.float32))
    one["keypoint"][0, 0, 0] = 0
    data, notes = converted(one)
    assert "keypoint_score" not in data["annotations"][0]
    assert notes == [f"all scores are {value:g} and are ignored; joints at (0, 0) count as not seen"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"frame_dir": [1, 2]},
            r"annotation 0 has the \"frame_dir\" \(clip id\) \[1, 2\] of type list; write it as text",
        ),
        ({"label": 1.5}, "clip 'a': label is 1.5, must be a class number, or a name in all clips"),
        ({"total_frames": "6"}, "clip 'a': total_frames is '6', must be a number of frames"),
        ({"total_frames": 7}, "total_frames is 7, but keypoint of shape .* has 6 frames; set total_frames"),
        ({"keypoint": np.zeros((1, 6, 17, 2), bool)}, "keypoint is of type bool, must be numbers"),
        ({"img_shape": (480.5, 640)}, r"img_shape is \(480.5, 640\), must be \(height, width\) in pixels"),
        ({"label": None}, r"clip 'a' has no 'label'; add it \(-1 for a clip without a label\), or remove the clip"),
        ({"keypoint": np.zeros((1, 6, 2, 17), np.float32)}, "must be floats .*; reorder or reshape its axes"),
        ({"keypoint": np.full((1, 6, 17, 2), np.inf, np.float16)}, "'keypoint': float16 overflows above 65504"),
        ({"keypoint_score": np.full((1, 6, 17), np.inf, np.float32)}, "infinite values in 'keypoint_score'"),
    ],
)
def test_what_is_not_clear_is_refused_with_clip_value_and_fix(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        converted(clip(**changes))

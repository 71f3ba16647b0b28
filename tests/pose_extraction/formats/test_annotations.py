"""Skeleton files: safe reading, deterministic writing, compatibility with PYSKL."""

import pickle
import pickletools
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from pose_extraction.errors import AnnotationError
from pose_extraction.formats.annotations import (
    annotation_from,
    data_set,
    merge_files,
    number_labels,
    pack_raw,
    unpack_raw,
)
from pose_extraction.formats.pickle_memo import check_memo
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.formats.pickles import read_pickle
from pose_extraction.formats.validation import read_data_set, validate_dataset
from pose_extraction.poses import FramePoses, PoseTrack, VideoPoses


def made_video(persons: int = 2, frames: int = 6, seed: int = 0) -> VideoPoses:
    """Persons in a 240 x 320 frame, whose first joint is never seen."""
    random = np.random.default_rng(seed)
    tracks = []
    for person in range(persons):
        keypoint = random.uniform(10, 200, (frames, 17, 2)).astype(np.float32)
        score = random.uniform(0.3, 1, (frames, 17)).astype(np.float32)
        keypoint[:, 0], score[:, 0] = np.nan, 0
        box = np.tile(np.array([5, 5, 210, 210], np.float32), (frames, 1))
        imputed = np.zeros((frames, 17), bool)
        imputed[1, 3] = True
        tracks.append(PoseTrack(person + 7, 0, keypoint, score, box, np.ones(frames, np.float32), imputed))
    time = np.arange(frames) / 25
    history = [{"step": "clean", "parameters": {"gap": np.float64(0.5)}, "counts": {"jumps": np.int64(2)}}]
    return VideoPoses(np.arange(frames), time, (240, 320), tracks, history)


def made_clip(name: str, label: str | None = None, **options: Any) -> dict[str, Any]:
    video = made_video(**options)
    return annotation_from(
        video, frame_dir=name, estimator="made", fps=25, source=f"{name}.mp4", label_name=label, quality={}
    )


def stored(path: Path, data: Any) -> Path:
    write_pickle(path, data)
    return path


def pickle_bytes(data: Any) -> bytes:
    """The content of the file that is written for `data`."""
    with TemporaryDirectory() as folder:
        return stored(Path(folder) / "x.pkl", data).read_bytes()


def test_an_annotation_has_the_fields_of_the_format(tmp_path: Path) -> None:
    clip = made_clip("a/b", "wave")
    path = stored(tmp_path / "x.pkl", data_set([clip], {"all": ["a/b"]}))
    read = read_data_set(path)["annotations"][0]
    assert (read["frame_dir"], read["label"], read["total_frames"]) == ("a/b", 0, 6)
    assert read["img_shape"] == read["original_shape"] == (240, 320)
    assert read["keypoint"].shape == (2, 6, 17, 2) and read["keypoint"].dtype == np.float32
    assert read["keypoint_score"].shape == (2, 6, 17) and read["keypoint_score"].dtype == np.float32
    assert not read["keypoint"][:, :, 0].any() and np.isfinite(read["keypoint"]).all()
    assert read["imputed"][0, 1, 3] and read["imputed"].sum() == 2
    assert read["track_id"].tolist() == [7, 8]
    assert read["time"].dtype == np.float64 and read["frame_index"].dtype == np.int64
    assert read["history"][0]["counts"] == {"jumps": 2}


def test_a_clip_without_persons_or_label(tmp_path: Path) -> None:
    data = data_set([made_clip("empty", persons=0)], {"all": ["empty"]})
    read = read_data_set(stored(tmp_path / "x.pkl", data))["annotations"][0]
    assert read["keypoint"].shape == (0, 6, 17, 2) and read["label"] == -1


def test_raw_poses_are_restored_including_empty_frames() -> None:
    one = FramePoses.empty(4, 0.16)
    score = np.full((2, 17), 0.5, np.float32)
    score[1, 3] = 0
    keypoint = np.full((2, 17, 2), 9, np.float32)
    keypoint[1, 3] = np.nan
    two = FramePoses(5, 0.2, np.ones((2, 4), np.float32), np.ones(2, np.float32), keypoint, score)
    packed = pack_raw([one, two, FramePoses.empty(6, 0.24)])
    assert packed["frame_index"].tolist() == [5, 5] and np.isfinite(packed["keypoint"]).all()
    frames = unpack_raw(packed)
    assert [(frame.frame_index, frame.time, frame.num_persons) for frame in frames] == [
        (4, 0.16, 0),
        (5, 0.2, 2),
        (6, 0.24, 0),
    ]
    np.testing.assert_array_equal(frames[1].keypoint, keypoint)
    assert unpack_raw(pack_raw([])) == []


def test_labels_with_numbers_keep_them() -> None:
    assert number_labels(["A003", "A050"]) == [f"A{number:03d}" for number in range(1, 61)]
    assert len(number_labels(["A003", "A061"])) == 120
    assert number_labels(["3", "1"]) == ["0", "1", "2", "3"]
    assert number_labels(["wave", "fall", "wave"]) == ["fall", "wave"]
    assert number_labels(["20230101", "20230102"]) == ["20230101", "20230102"]
    assert number_labels([]) == []


# --- Simulated file access of PYSKL and MMAction2 -------------------------------------------------------------------


def taken_by_dataset(data: dict[str, Any], split: str, prefix: str) -> list[dict[str, Any]]:
    """Like both `PoseDataset` classes: select by id, then prepend the data folder to the id."""
    identifier = "filename" if "filename" in data["annotations"][0] else "frame_dir"
    ids = set(data["split"][split])
    chosen = [dict(clip) for clip in data["annotations"] if clip[identifier] in ids]
    for clip in chosen:
        clip[identifier] = f"{prefix}/{clip[identifier]}"
        clip["modality"], clip["start_index"], clip["test_mode"] = "Pose", 0, True
    return chosen


def taken_by_pipeline(clip: dict[str, Any], clip_len: int) -> np.ndarray:
    """Access fields like UniformSampleFrames, PoseDecode, PreNormalize2D, PoseCompact and FormatGCNInput."""
    frames, keypoint = clip["total_frames"], clip["keypoint"]
    assert frames == keypoint.shape[1]
    indices = np.mod(np.arange(clip_len), frames) + clip["start_index"]
    for frame in range(frames):
        # Absent persons have coordinates close to zero; the last persons are checked first.
        person = keypoint.shape[0] - 1
        while person >= 0 and np.all(np.abs(keypoint[person, frame]) < 1e-5):
            person -= 1
    indices = indices + clip.get("offset", 0)
    keypoint = keypoint[:, indices].astype(np.float32)
    score = clip["keypoint_score"][:, indices].astype(np.float32)
    height, width = clip["img_shape"]
    keypoint[np.isnan(keypoint)] = 0.0
    column = keypoint[..., 0]
    assert np.min(column[column != 0], initial=np.inf) >= 0 and np.max(column, initial=-np.inf) <= width
    keypoint[..., 0] = (keypoint[..., 0] - width / 2) / (width / 2)
    keypoint[..., 1] = (keypoint[..., 1] - height / 2) / (height / 2)
    keypoint[score <= 0] = 0
    joined = np.concatenate([keypoint, score[..., None]], axis=-1)
    padding = np.zeros((max(0, 2 - len(joined)), *joined.shape[1:]), joined.dtype)
    joined = np.concatenate([joined, padding])[:2]
    persons, length, joints, channels = joined.shape
    return joined.reshape(persons, 1, length, joints, channels).transpose(1, 0, 2, 3, 4)


@pytest.mark.parametrize("persons", [0, 1, 2, 3])
def test_pyskl_and_mmaction2_can_read_the_files(tmp_path: Path, persons: int) -> None:
    data = data_set([made_clip("a", "wave", persons=persons), made_clip("b", "fall")], {"train": ["a"], "test": ["b"]})
    path = stored(tmp_path / "x.pkl", data)
    # They use the pickle module.
    clips = taken_by_dataset(pickle.loads(path.read_bytes()), "train", "videos")
    assert [clip["frame_dir"] for clip in clips] == ["videos/a"]
    assert type(clips[0]["label"]) is int and clips[0]["label"] == 1
    assert taken_by_pipeline(clips[0], 10).shape == (1, 2, 10, 17, 3)
    # `offset`, `filename` and `key` would change their behaviour, and `imgs` would be interpreted as images.
    assert not {"offset", "filename", "key", "imgs", "gt_bboxes", "frame_inds", "num_clips"} & clips[0].keys()


def test_files_use_only_names_that_old_numpy_versions_have(tmp_path: Path) -> None:
    blob = pickle_bytes(data_set([made_clip("a")], {}))
    words = {argument for _, argument, _ in pickletools.genops(blob) if isinstance(argument, str)}
    assert {"numpy", "ndarray"} <= words and not any(word.startswith("numpy.") for word in words)
    assert pickle.loads(blob)["annotations"][0]["keypoint"].flags.writeable


# --- Reading files of other programs --------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(6))
def test_numpy_pickles_of_any_protocol_are_read(tmp_path: Path, protocol: int) -> None:
    arrays = {
        "half": np.arange(6, dtype=np.float16).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "axes": np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1),
        "big endian": np.arange(3, dtype=">f4"),
        "flags": np.array([True, False]),
        "text": np.array(["left", "right"]),
        "none": np.zeros((0, 5, 17, 2), np.float32),
    }
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({**arrays, "label": np.int64(3), "nested": (1, [arrays["half"]])}, protocol))
    read = read_pickle(path)
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype and read[name].flags.writeable
    assert type(read["label"]) is int and read["nested"][1][0] is read["half"]


def test_numpy_1_pickles_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    blob = pickle.dumps(np.arange(3), protocol=2).replace(b"cnumpy._core.", b"cnumpy.core.")
    assert b"numpy.core.multiarray" in blob
    path.write_bytes(blob)
    assert read_pickle(path).tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["motions5.pkl", "penn_action.pkl"])
def test_real_data_sets_are_read_like_pickle(shared_data: Path, name: str) -> None:
    path = shared_data / "skeletons" / name
    ours = read_data_set(path)
    theirs = pickle.loads(path.read_bytes())
    assert ours["split"] == theirs["split"] and ours["label_names"] == theirs["label_names"]
    assert len(ours["annotations"]) == len(theirs["annotations"])
    for one, other in zip(ours["annotations"][::50], theirs["annotations"][::50], strict=True):
        assert one.keys() == other.keys()
        np.testing.assert_array_equal(one["keypoint"], other["keypoint"])
        assert one["keypoint"].dtype == np.float16


# --- Hostile and damaged files --------------------------------------------------------------------------------------


class Calls:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.call


def raw_call(module: str, name: str, argument: str) -> bytes:
    """Protocol 0 for module.name(argument), without importing the module."""
    return f"c{module}\n{name}\n(V{argument}\ntR.".encode()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("builtins", "exec"),
        ("builtins", "getattr"),
        ("__builtin__", "eval"),
        ("subprocess", "Popen"),
        ("numpy", "load"),
        ("numpy", "fromfile"),
        ("numpy", "memmap"),
        ("numpy.f2py", "compile"),
        ("numpy.testing._private.utils", "runstring"),
        ("numpy._core.multiarray", "fromstring"),
        ("numpy.core.multiarray", "_reconstruct.__self__"),
        ("numpy", "ndarray.tofile"),
        ("torch", "load"),
        ("pathlib", "Path"),
        ("functools", "partial"),
        ("copyreg", "_reconstructor"),
    ],
)
@pytest.mark.parametrize("framed", [False, True])
def test_code_is_refused_by_name_without_executing_it(tmp_path: Path, module: str, name: str, framed: bool) -> None:
    mark = tmp_path / "ran"
    call = raw_call(module, name, f"touch {mark}")
    path = tmp_path / "hostile.pkl"
    # Also inside a list in a dict, with dotted names resolved as in protocol 4.
    path.write_bytes(b"\x80\x04}X\x05\x00\x00\x00split](" + call[:-1] + b"es." if framed else call)
    with pytest.raises(AnnotationError) as caught:
        read_pickle(path)
    assert f"{module}.{name}" in str(caught.value) and str(path) in str(caught.value)
    assert not mark.exists()


def test_calls_inside_arrays_are_refused(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    path = tmp_path / "x.pkl"
    for value in (np.array([Calls(mark.touch)], dtype=object), {"annotations": [{"keypoint": (Calls(mark.touch),)}]}):
        path.write_bytes(pickle.dumps(value))
        with pytest.raises(AnnotationError, match=r"refused to load|not allowed"):
            read_pickle(path)
    assert not mark.exists()


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    for protocol in (2, 4, 5):
        path.write_bytes(pickle.dumps(np.array([{}, None], dtype=object), protocol))
        with pytest.raises(AnnotationError, match="not allowed"):
            read_pickle(path)
    path.write_bytes(pickle.dumps(np.zeros(2, [("x", "f4"), ("y", "O")])))
    with pytest.raises(AnnotationError, match="not allowed"):
        read_pickle(path)


def reconstruct(*, state: Any) -> Calls:
    function, arguments, _ = np.zeros(2).__reduce__()  # type: ignore[str-unpack]
    return Calls(function, *arguments, state=state)


@pytest.mark.parametrize(
    "attack",
    [
        # A dtype state with a forged size, fields or flags.
        Calls(np.dtype, "f8", False, True, state=(3, "<", None, ("x",), {"x": (np.dtype("f8"), 0)}, 8, 8, 63)),
        Calls(np.dtype, "f8", False, True, state=(3, "<", (np.dtype("f8"), (9,)), None, None, -1, -1, 63)),
        Calls(np.dtype, "O"),
        # The same dtype used in an array.
        reconstruct(
            state=(1, (1,), Calls(np.dtype, "f8", state=(3, "<", None, ("x",), {"x": 0}, 8, 8, 63)), False, b"12345678")
        ),
        reconstruct(state=(1, (1,), Calls(np.dtype, "V8"), False, b"12345678")),
        # An array of 1 GB without data.
        reconstruct(state=(1, (10**9,), np.dtype("i1"), False, b"")),
        # More elements than bytes, and an invalid shape.
        reconstruct(state=(1, (10**9,), np.dtype("f8"), False, b"12345678")),
        reconstruct(state=(1, (-1,), np.dtype("f8"), False, b"12345678")),
        reconstruct(state=(1, ("2",), np.dtype("f8"), False, b"12345678")),
        reconstruct(state="text"),
        # State set on an allowed function, as attributes and as a slot.
        Calls(np.dtype, state={"__call__": 1}),
        Calls(np.dtype, "f8", state=(None, {"dtype": 1})),
        # Allocation of memory.
        Calls(bytearray, 10**12),
        Calls(np.ndarray, (10**12,), "f8"),
    ],
)
def test_forged_states_are_refused(tmp_path: Path, attack: Any) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps([attack], protocol=4))
    with pytest.raises(AnnotationError):
        read_pickle(path)


@pytest.mark.parametrize("target", [b"cnumpy\nndarray\n", b"cnumpy\ndtype\n", b"c__builtin__\nset\n"])
def test_allowed_functions_cannot_be_changed_or_stored(tmp_path: Path, target: bytes) -> None:
    path = tmp_path / "x.pkl"
    for blob in (
        target + b"}S'_function'\nI1\nsb.",
        target + b"(N}S'_function'\nI1\nstb.",
        b"](" + target + b"e.",
        target + b".",
        target + b"}S'a'\nI1\nsb0I1\n.",
    ):
        path.write_bytes(blob)
        with pytest.raises(AnnotationError):
            read_pickle(path)


@pytest.mark.parametrize(
    "blob",
    [
        b"]r" + (50_000_000).to_bytes(4, "little") + b".",
        b"]p50000000\n.",
        b"]p+50_000_000\n.",
        b"\x80\x04" + b"\x8c\x02ab" + b"r" + (50_000_000).to_bytes(4, "little") + b".",
    ],
)
def test_a_small_file_cannot_demand_a_large_memo(tmp_path: Path, blob: bytes) -> None:
    path = tmp_path / "memo.pkl"
    path.write_bytes(blob)
    with pytest.raises(AnnotationError, match=r"memo\.pkl: not a valid skeleton pickle .*numbers an object 50000000"):
        read_pickle(path)


@pytest.mark.parametrize("protocol", range(6))
def test_the_memo_of_every_protocol_is_followed_to_the_end(protocol: int) -> None:
    # All kinds of arguments: lines, two lines, lengths of one, four and eight bytes.
    value = {
        "text": "a\nb" * 100,
        "bytes": b"p9999999999\n",
        "numbers": [2**70, -5, 1.5, None, True],
        "row": ("a",),
    }
    blob = pickle.dumps([value, np.ones((2, 3), np.float32), np.float64(2.5)], protocol)
    check_memo(blob)
    with pytest.raises(ValueError, match="numbers an object 4294967295"):
        check_memo(blob[:-1] + b"r\xff\xff\xff\xff.")


@pytest.mark.slow
def test_errors_name_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "torn.pkl"
    whole = pickle_bytes(data_set([made_clip("a"), made_clip("b")], {"all": ["a"]}))
    random = np.random.default_rng(0)
    garbage = [
        b"",
        b"\x80",
        b"not a pickle",
        b"(" * 50_000,
        b"]" * 200_000 + b"a" * 199_999 + b".",
        bytes(random.bytes(4000)),
    ]
    cuts = [whole[: int(cut)] for cut in random.integers(1, len(whole) - 1, 40)]
    for blob in garbage + cuts:
        path.write_bytes(blob)
        with pytest.raises(AnnotationError, match=r"torn\.pkl"):
            read_data_set(path)
    for position in random.integers(0, len(whole), 300):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << int(random.integers(8))
        path.write_bytes(flipped)
        # Most flipped bits are in coordinates and cannot be detected; all others must raise an AnnotationError.
        try:
            read_data_set(path)
        except AnnotationError as error:
            assert str(path) in str(error)
    with pytest.raises(AnnotationError, match="No such file"):
        read_pickle(tmp_path / "absent.pkl")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": None}, "label"),
        ({"keypoint": np.zeros((2, 6, 17), np.float32)}, r"\(2, 6, 17\)"),
        ({"keypoint": np.zeros((2, 5, 17, 2), np.float32)}, "total_frames is 6"),
        ({"keypoint_score": np.zeros((2, 6, 16), np.float32)}, r"\(2, 6, 16\)"),
        ({"img_shape": (240,)}, "height, width"),
        ({"total_frames": 6.0}, "total_frames is 6.0, must be a number of frames"),
        ({"frame_dir": 3}, "frame_dir"),
    ],
)
def test_errors_name_malformed_clips_and_the_reason(change: dict[str, Any], message: str) -> None:
    data = data_set([made_clip("a")], {})
    validate_dataset(data, Path("x.pkl"))
    data["annotations"][0].update(change)
    with pytest.raises(AnnotationError, match=message) as caught:
        validate_dataset(data, Path("x.pkl"))
    assert "x.pkl" in str(caught.value) and "\n" not in str(caught.value)


def test_errors_name_malformed_data_sets() -> None:
    good = made_clip("a")
    cases: list[tuple[Any, str]] = [
        ([good], "not a skeleton data set"),
        ({"annotations": [good]}, "split"),
        ({"split": {"all": ["b"]}, "annotations": [good]}, "'b'"),
        ({"split": {}, "annotations": [good, good]}, "twice"),
        ({"split": {}, "annotations": [{**good, "keypoint": None}]}, "NoneType"),
        ({"split": {}, "annotations": [{"frame_dir": "a", "label": 0}]}, "total_frames"),
    ]
    for data, message in cases:
        with pytest.raises(AnnotationError, match=message):
            validate_dataset(data, Path("x.pkl"))


# --- Writing and merging --------------------------------------------------------------------------------------------


def test_only_plain_data_is_written_and_the_old_file_is_kept_otherwise(tmp_path: Path) -> None:
    path = stored(tmp_path / "x.pkl", {"a": 1})
    with pytest.raises(AnnotationError, match=r"data\['deep'\]\[1\]"):
        write_pickle(path, {"deep": [1, object()]})
    assert read_pickle(path) == {"a": 1}


def test_equal_data_results_in_equal_bytes() -> None:
    shared = "".join(["sha", "red"])
    pair, another = (tuple([1, 2]) for _ in range(2))
    one = [shared, shared, pair, another]
    other = ["".join(["sha", "red"]), "".join(["shar", "ed"]), pair, pair]
    assert pickle_bytes(one) == pickle_bytes(other)


def test_merging_does_not_depend_on_the_order_of_the_files(tmp_path: Path) -> None:
    clips = [("b/1", "wave", "test"), ("a/2", "fall", "train"), ("a/10", None, "train")]
    paths = []
    for number, (name, label, split) in enumerate(clips):
        raw = pack_raw([FramePoses.empty(0, 0.0)])
        data = data_set([made_clip(name, label)], {split: [name]}, raw=raw, digest=name)
        paths.append(stored(tmp_path / f"{number}.pkl", data))
    merged = merge_files(paths)
    assert [clip["frame_dir"] for clip in merged["annotations"]] == ["a/10", "a/2", "b/1"]
    assert [clip["label"] for clip in merged["annotations"]] == [-1, 0, 1]
    assert merged["label_names"] == ["fall", "wave"]
    assert merged["split"] == {"test": ["b/1"], "train": ["a/10", "a/2"]}
    assert merged.keys() == {"split", "annotations", "label_names"}
    again = stored(tmp_path / "all.pkl", merge_files(reversed(paths)))
    assert again.read_bytes() == pickle_bytes(merged)
    # Merging a merged file again changes nothing.
    assert pickle_bytes(merge_files([again])) == again.read_bytes()


def test_a_clip_in_two_files_raises_an_error_that_names_both(tmp_path: Path) -> None:
    paths = [stored(tmp_path / name, data_set([made_clip("same")], {})) for name in ("one.pkl", "two.pkl")]
    with pytest.raises(AnnotationError, match=r"'same'.*one\.pkl.*two\.pkl"):
        merge_files(paths)


def test_files_of_other_programs_keep_their_class_order(tmp_path: Path) -> None:
    foreign = {key: value for key, value in made_clip("a").items() if key in ("keypoint", "total_frames", "img_shape")}
    data = {"split": {}, "annotations": [{**foreign, "frame_dir": "a", "label": 1}], "label_names": ["wave", "fall"]}
    merged = merge_files([stored(tmp_path / "x.pkl", data)])
    assert merged["label_names"] == ["wave", "fall"]
    assert (merged["annotations"][0]["label"], merged["annotations"][0]["label_name"]) == (1, "fall")

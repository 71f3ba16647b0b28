"""Long videos: files hold what memory cannot, and the result is the same for every size of their blocks."""

import tracemalloc
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pose_extraction.arrays import mapped, statistics
from pose_extraction.arrays.mapped import new_array
from pose_extraction.arrays.spool import Spool
from pose_extraction.extraction import ExtractedClip, ExtractionSettings, follow, frame_rate
from pose_extraction.formats import pickle_writing
from pose_extraction.formats.annotations import annotation_from, data_set, pack_raw, unpack_raw
from pose_extraction.formats.pickle_writing import LARGE, write_pickle
from pose_extraction.formats.pickles import read_pickle
from pose_extraction.poses import FramePoses, PoseTrack, VideoPoses
from pose_extraction.tracking.cleaning import CleaningSettings, clean
from pose_extraction.tracking.quality import clean_counts
from pose_extraction.tracking.raw_poses import PARTS, RawPoses
from pose_extraction.tracking.stored_tracks import StoredTracks
from pose_extraction.tracking.tracks import TrackedPoses
from test_support.clips.made_motion import SIZE, STANDING

SPANS = [(None, None), (1.0, 4.0), (6.05, 6.5), (90.0, None)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the temporary files."""
    monkeypatch.setenv("SKELPIPE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def frames() -> list[FramePoses]:
    """Three people who come and go, with noise, duplicates, outliers, low scores and missing joints."""
    rng = np.random.default_rng(3)
    made = []
    for index in range(400):
        here = [p for p in range(3) if (index // 60 + p) % 4 and rng.random() < 0.95]
        here += here[:1] if index % 17 == 0 else []
        count = len(here)
        place = np.array([(400 + 400 * p + 2 * index, 600) for p in here]).reshape(count, 1, 2)
        keypoint = (STANDING * 300 + place + rng.normal(0, 2, (count, 17, 2))).astype(np.float32)
        keypoint[rng.random((count, 17)) < 0.02] += 200
        score = rng.uniform(0.1, 1, (count, 17)).astype(np.float32)
        unseen = rng.random((count, 17)) < 0.05
        keypoint[unseen], score[unseen] = np.nan, 0
        box = np.array([(300 + 400 * p + 2 * index, 400, 500 + 400 * p + 2 * index, 800) for p in here], np.float32)
        box_score = rng.uniform(0.2, 1, count).astype(np.float32)
        made.append(FramePoses(index, index / 25, box.reshape(count, 4), box_score, keypoint, score))
    return made


def stored(frames: list[FramePoses], block: int, held: int = 0) -> RawPoses:
    poses = RawPoses(block=block, held=held)
    for frame in frames:
        poses.append(frame)
    return poses


def content(clips: list[ExtractedClip]) -> list[tuple[Any, ...]]:
    """Everything in clips, with arrays as bytes."""
    return [
        (
            [array.tobytes() for array in clip.poses.dense()],
            [(track.track_id, track.start, track.box.tobytes()) for track in clip.poses.tracks],
            (clip.poses.frame_index.tobytes(), clip.poses.time.tobytes(), repr(clip.poses.history)),
            repr(clip.quality),
        )
        for clip in clips
    ]


@pytest.mark.slow
@pytest.mark.parametrize("smooth", [False, True])
def test_clips_do_not_depend_on_where_the_poses_are(frames, smooth):
    settings = ExtractionSettings(max_persons=2, cleaning=CleaningSettings(smooth=smooth))
    in_memory = follow(frames, SIZE, settings, SPANS)
    assert [len(clip.poses.tracks) for clip in in_memory] == [2, 2, 2, 0]
    assert in_memory[0].poses.history[0]["counts"]["persons_removed"] > 5
    assert isinstance(in_memory[0].poses.tracks, list)
    for block in (1, 7, 400, 1000):
        clips = follow(stored(frames, block), SIZE, settings, SPANS, held_poses=0)
        assert isinstance(clips[0].poses.tracks, StoredTracks)
        assert content(clips) == content(in_memory), f"blocks of {block} frames"


def write(path: Path, clips: list[ExtractedClip], frames: Collection[FramePoses]) -> None:
    """Write the skeleton file of clips."""
    annotations = [
        annotation_from(clip.poses, frame_dir=str(number), estimator="none", fps=25.0, source="made.mp4")
        for number, clip in enumerate(clips)
        if clip.poses.num_frames
    ]
    write_pickle(path, data_set(annotations, {"all": []}, raw=pack_raw(frames)))


def written(path: Path, clips: list[ExtractedClip], frames: Collection[FramePoses]) -> bytes:
    """The content of the skeleton file of clips."""
    write(path, clips, frames)
    return path.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize(("rows", "values"), [(16, 200), (4096, 1 << 16)])
def test_skeleton_files_do_not_depend_on_where_their_arrays_are(
    frames, tmp_path, cache, monkeypatch, smooth, rows, values
):
    settings = ExtractionSettings(cleaning=CleaningSettings(smooth=smooth))
    in_memory = follow(frames, SIZE, settings, SPANS)
    expected = written(tmp_path / "a.pkl", in_memory, frames)
    for module, name, value in (
        (mapped, "LARGE", 0),
        (mapped, "BLOCK", rows),
        (statistics, "VALUES", values),
    ):
        monkeypatch.setattr(module, name, value)
    clips = follow(stored(frames, 7), SIZE, settings, SPANS, held_poses=0)
    assert repr([clip.quality for clip in clips]) == repr([clip.quality for clip in in_memory])
    assert mapped.is_mapped(clips[0].poses.tracks[0].keypoint)
    assert all(mapped.is_mapped(array) for array in clips[0].poses.dense())
    assert written(tmp_path / "b.pkl", clips, stored(frames, 7)) == expected
    assert list(cache.iterdir()) == [], "a temporary file has a name"


def status(name: str) -> int:
    """A size in bytes from what the system knows of this process."""
    text = Path("/proc/self/status").read_text()
    return int(text.partition(f"{name}:")[2].split()[0]) << 10


def long_video(length: int) -> VideoPoses:
    """One person in a long video, whose track is in a file."""
    rng = np.random.default_rng(0)

    def parts() -> Iterator[PoseTrack]:
        for first in range(0, length, 1000):
            keypoint = (STANDING * 300 + 600 + rng.normal(0, 2, (1000, 17, 2))).astype(np.float32)
            box = np.concatenate([keypoint.min(1), keypoint.max(1)], axis=1)
            score, imputed = np.ones((1000, 17), np.float32), np.zeros((1000, 17), bool)
            yield PoseTrack(1, first, keypoint, score, box, score[:, 0], imputed)

    joints, tracks = (length, 17), StoredTracks()
    keypoint, score = new_array((*joints, 2), np.float32), new_array(joints, np.float32)
    box, box_score = new_array((length, 4), np.float32), new_array((length,), np.float32)
    tracks.append_parts(PoseTrack(1, 0, keypoint, score, box, box_score, new_array(joints, bool)), parts())
    return VideoPoses(np.arange(length), np.arange(length) / 30, SIZE, tracks)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system does not measure peaks of memory")
def test_memory_does_not_hold_the_joints_of_a_long_video(tmp_path):
    def measured(length: int) -> tuple[int, int]:
        """Peak of the memory while a video is cleaned and written, and size of its file, in bytes."""
        video = long_video(length)
        # The peak of the process is from now on.
        Path("/proc/self/clear_refs").write_text("5")
        cleaned = clean(video, CleaningSettings())
        clip = ExtractedClip(cleaned, {"clean": clean_counts(cleaned)})
        write(tmp_path / "a.pkl", [clip], [])
        return status("VmHWM"), (tmp_path / "a.pkl").stat().st_size

    # Joints that are held would cost their size every time; what else this process does may cost it once.
    excess = []
    for _ in range(3):
        (short_peak, short), (long_peak, long) = measured(20_000), measured(120_000)
        excess.append((long_peak - short_peak) / (long - short))
    assert min(excess) < 0.4


@pytest.mark.parametrize("block", [1, 7, 400, 1000])
def test_raw_poses_are_read_as_they_were_added(frames, block):
    poses = stored(frames, block)
    assert len(poses) == len(frames) and frame_rate(poses, 25.0) == frame_rate(frames, 25.0)
    for _ in range(2):
        for one, other in zip(poses, frames, strict=True):
            assert (one.frame_index, one.time) == (other.frame_index, other.time)
            for part in PARTS:
                np.testing.assert_array_equal(getattr(one, part), getattr(other, part))
    packed = pack_raw(poses)
    assert {name: array.tobytes() for name, array in packed.items()} == {
        name: array.tobytes() for name, array in pack_raw(list(frames)).items()
    }
    assert len(unpack_raw(packed)) == len(frames)


@pytest.mark.parametrize("block", [1, 5, 64])
@pytest.mark.parametrize(("first", "last"), [(0, None), (3, 31), (10, 20), (20, 20)])
def test_tracks_of_a_span_are_those_of_its_frames(block, first, last):
    rng = np.random.default_rng(block)
    poses, expected = TrackedPoses(block=block, held=0), {}
    for index in range(40):
        names = np.array([name for name in (4, 0, 7) if rng.random() < 0.4] + [-1])
        values = rng.random((len(names), 17, 2)).astype(np.float32)
        score = values[..., 0]
        poses.append(FramePoses(index, index / 10, values[:, 0].repeat(2, 1), score[:, 0], values, score), names)
        for name, value in zip(names.tolist(), values, strict=True):
            if name >= 0 and first <= index < (40 if last is None else last):
                expected.setdefault(name, {})[index - first] = value
    tracks = poses.tracks(first, last)
    assert [track.track_id for track in tracks] == sorted(expected)
    for track in tracks:
        there = expected[track.track_id]
        assert (track.start, track.stop) == (min(there), max(there) + 1)
        for row in range(len(track)):
            value = there.get(track.start + row)
            assert bool(track.seen[row]) == (value is not None)
            if value is None:
                assert np.isnan(track.keypoint[row]).all() and not track.keypoint_score[row].any()
            else:
                np.testing.assert_array_equal(track.keypoint[row], value)
                np.testing.assert_array_equal(track.box[row], value[0].repeat(2))


def test_memory_holds_one_array_of_a_spool(cache):
    spool = Spool(held=1 << 20)
    made = np.arange(500_000.0)
    tracemalloc.start()
    try:
        places = [spool.add(made + number) for number in range(10)]
        assert all(spool.read(place)[-1] == 499_999 + number for number, place in enumerate(places))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * made.nbytes
    del spool
    assert list(cache.iterdir()) == [], "the temporary file is still there"


def test_reading_holds_one_array_twice(tmp_path):
    arrays = [np.arange(100_000.0) + number for number in range(10)]
    write_pickle(tmp_path / "a.pkl", arrays)
    tracemalloc.start()
    try:
        read = read_pickle(tmp_path / "a.pkl")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 13 * arrays[0].nbytes
    for one, other in zip(read, arrays, strict=True):
        np.testing.assert_array_equal(one, other)
        one += 1


@pytest.mark.parametrize("size", [0, 1000, LARGE // 4 - 1, LARGE // 4, LARGE])
def test_large_arrays_are_written_like_small_ones(tmp_path, monkeypatch, size):
    array = np.arange(size, dtype=np.float32)
    data = {"a": array, "b": [array[::-1], np.asfortranarray(array.reshape(-1, 1).repeat(2, 1))], "c": array > 5}
    write_pickle(tmp_path / "a.pkl", data)
    read = read_pickle(tmp_path / "a.pkl")
    for one, other in zip((read["a"], *read["b"], read["c"]), (data["a"], *data["b"], data["c"]), strict=True):
        np.testing.assert_array_equal(one, other)
    monkeypatch.setattr(pickle_writing, "LARGE", 1 << 40)
    write_pickle(tmp_path / "b.pkl", data)
    assert (tmp_path / "a.pkl").read_bytes() == (tmp_path / "b.pkl").read_bytes()

"""Accuracy gates of the complete pipeline: small networks on rendered people that were not used in training.

Clips are rendered once, and extracted once by each estimator, as by `skelpipe extract`.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from pipeline.extract.settings import ExtractSettings
from pipeline.extract.workflow import Report, extract
from pose_extraction.extraction import ExtractionSettings, follow
from pose_extraction.poses import FramePoses
from synthetic.networks.measuring import JointCounts, joint_counts
from synthetic.rendering.scene import SEEN, FrameTruth
from test_support.clips.drawn_world import (
    DETECTOR,
    SIZE,
    Truths,
    cleaned_clip,
    draw_plain,
    draw_together,
    identities,
    needs,
    raw_frames,
    same_persons,
)
from test_support.networks.made_runs import all_files
from test_support.reference.idf1 import idf1

pytestmark = [pytest.mark.processor, pytest.mark.slow]

# Stores a number with a test's outcome; `pytest --junitxml FILE` writes it.
Record = Callable[[str, float], None]
TOP_DOWN = ("hrnet-tiny", "vitpose-tiny")


def networks_of(estimator: str) -> tuple[str, ...]:
    return (estimator, DETECTOR) if estimator in TOP_DOWN else (estimator,)


class World:
    """Clips, their ground truth, and each estimator's skeletons, extracted on first use.

    Args:
        folder: Folder of all files.
        draw: Renders the clips into a folder.
    """

    def __init__(self, folder: Path, draw: Callable[[Path], Truths]) -> None:
        self.clips, self._folder = folder / "clips", folder
        self.truths = draw(self.clips)
        self._extracted: dict[str, Path] = {}

    def skeletons(self, estimator: str) -> Path:
        """Return the folder of an estimator's skeleton files."""
        if estimator not in self._extracted:
            report = extract_quietly(self.clips, self._folder / "skeletons", estimator)
            assert not report.failed
            self._extracted[estimator] = report.folder
        return self._extracted[estimator]

    def pck(self, estimator: str) -> JointCounts:
        """Count joints found before tracking and cleaning; all joints of a missed person are errors."""
        estimates: list[np.ndarray] = []
        flat: list[FrameTruth] = []
        for name, frames in self.truths.items():
            raw = raw_frames(self.skeletons(estimator), name)
            assert [poses.frame_index for poses in raw] == list(range(len(frames)))
            estimates += [poses.keypoint for poses in raw]
            flat += frames
        return joint_counts(estimates, flat)

    def idf1(self, estimator: str) -> float:
        """Measure how well tracks keep identities; missed persons and false tracks are errors."""
        true, found = [], []
        for number, (name, frames) in enumerate(self.truths.items()):
            one, other = identities(cleaned_clip(self.skeletons(estimator), name), frames, 100 * number)
            true += one
            found += other
        return idf1(true, found)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Clips of people who are apart and clearly visible."""
    return World(tmp_path_factory.mktemp("plain"), draw_plain)


@pytest.fixture(scope="module")
def contact(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Clips of pairs who shake hands, hit, hug and push each other."""
    return World(tmp_path_factory.mktemp("contact"), draw_together)


def extract_quietly(videos: Path, out: Path, estimator: str) -> Report:
    settings = ExtractSettings(estimator=estimator, detector=DETECTOR, device="cpu")
    return extract([videos], out, settings=settings, labels="none", console=Console(file=io.StringIO()))


@pytest.mark.parametrize(
    "estimator",
    [pytest.param(name, marks=needs(*networks_of(name), good=(name,))) for name in (*TOP_DOWN, "openpifpaf-tiny")],
)
def test_estimators_find_the_visible_joints_of_unseen_people(
    world: World, estimator: str, record_property: Record
) -> None:
    """PCK at a tenth of the longer side of the true box."""
    counts = world.pck(estimator)
    record_property("PCK", counts.pck)
    assert counts.total.sum() > 4000
    assert counts.pck >= 0.90, counts.by_joint


@needs("hrnet-tiny", DETECTOR)
def test_tracks_keep_identities(world: World, record_property: Record) -> None:
    found = world.idf1("hrnet-tiny")
    record_property("IDF1", found)
    assert found >= 0.95


@needs("hrnet-tiny", DETECTOR)
def test_people_in_contact_are_found_as_well_as_documented(contact: World, record_property: Record) -> None:
    """The values documented in docs/rendered_people.md."""
    found = contact.pck("hrnet-tiny").pck, contact.idf1("hrnet-tiny")
    record_property("PCK", found[0])
    record_property("IDF1", found[1])
    assert found[0] >= 0.65 and found[1] >= 0.70, found


def damaged(frames: list[FramePoses], random: np.random.Generator) -> list[FramePoses]:
    """Remove joints for three frames at a time, and displace others for one frame."""
    persons = max(poses.num_persons for poses in frames)
    gone = random.random((len(frames), persons, 17)) < 0.03
    gone[1:] |= gone[:-1]
    gone[1:] |= gone[:-1]
    leaps = random.random((len(frames), persons, 17)) < 0.04
    result = []
    for number, poses in enumerate(frames):
        size = (poses.box[:, 2:] - poses.box[:, :2]).max(-1, initial=0)
        angle = random.uniform(0, 2 * np.pi, (poses.num_persons, 17))
        leap = 0.6 * size[:, None, None] * np.stack([np.cos(angle), np.sin(angle)], -1)
        here = slice(poses.num_persons)
        keypoint = np.where(leaps[number, here, :, None], poses.keypoint + leap, poses.keypoint)
        keypoint = np.where(gone[number, here, :, None], np.nan, keypoint).astype(np.float32)
        score = np.where(np.isfinite(keypoint).all(-1), poses.keypoint_score, 0).astype(np.float32)
        result.append(replace(poses, keypoint=keypoint, keypoint_score=score))
    return result


def by_person(frames: list[np.ndarray], own: list[np.ndarray], truths: Sequence[FrameTruth]) -> np.ndarray:
    """Return the poses (P, T, 17, 2) of the true persons, NaN if missing.

    Args:
        frames: Poses (M, 17, 2) of each frame.
        own: Poses used for matching with the true persons; `frames`, or their undamaged version.
        truths: Ground truth of the frames.
    """
    result = np.full((len(truths[0].box), len(truths), 17, 2), np.nan)
    for number, (keypoint, clear, truth) in enumerate(zip(frames, own, truths, strict=True)):
        persons, poses = same_persons(clear, truth)
        result[persons, number] = keypoint[poses]
    return result


def held(keypoint: np.ndarray) -> np.ndarray:
    """Fill every gap with the joint's last position, or its first: the baseline to beat."""
    filled = keypoint.copy()
    for frames in (range(1, filled.shape[1]), range(filled.shape[1] - 2, -1, -1)):
        step = 1 if frames.step > 0 else -1
        for frame in frames:
            before = filled[:, frame - step]
            filled[:, frame] = np.where(np.isnan(filled[:, frame]), before, filled[:, frame])
    return filled


@needs("hrnet-tiny", DETECTOR)
def test_cleaning_lowers_the_error_of_damaged_tracks(world: World) -> None:
    """Root mean square error of visible joints before and after cleaning, relative to the person's size."""
    random = np.random.default_rng(0)
    squared: dict[str, list[np.ndarray]] = {"whole": [], "damaged": [], "cleaned": []}
    for name, truths in world.truths.items():
        raw = raw_frames(world.skeletons("hrnet-tiny"), name)
        broken = damaged(raw, random)
        (clip,) = follow(broken, SIZE, ExtractionSettings())
        rows = [poses.keypoint for poses in raw]
        tracks = np.full((len(clip.poses.tracks), len(raw), 17, 2), np.nan)
        for row, track in zip(tracks, clip.poses.tracks, strict=True):
            row[track.start : track.start + len(track.keypoint)] = track.keypoint
        cleaned_frames = list(tracks.swapaxes(0, 1))
        poses = {
            "whole": by_person(rows, rows, truths),
            "damaged": by_person([one.keypoint for one in broken], rows, truths),
            "cleaned": by_person(cleaned_frames, cleaned_frames, truths),
        }
        seen = np.stack([truth.visibility == SEEN for truth in truths], 1)
        there = seen & np.isfinite(poses["whole"]).all(-1)
        truth = np.stack([one.keypoint for one in truths], 1)
        size = np.stack([(one.box[:, 2:] - one.box[:, :2]).max(-1) for one in truths], 1)
        for kind, keypoint in poses.items():
            error = np.linalg.norm(held(keypoint) - truth, axis=-1) / size[..., None]
            squared[kind].append(np.square(error[there]))
    error = {kind: float(np.sqrt(np.nanmean(np.concatenate(parts)))) for kind, parts in squared.items()}
    missing = {kind: float(np.isnan(np.concatenate(parts)).mean()) for kind, parts in squared.items()}
    # Cleaning removes almost all of the error that the damage added; the network's own error remains.
    assert error["damaged"] >= 1.3 * error["whole"], error
    assert error["cleaned"] - error["whole"] <= 0.25 * (error["damaged"] - error["whole"]), error
    assert missing["cleaned"] <= 0.02, missing


@needs("hrnet-tiny", DETECTOR)
def test_a_damaged_clip_changes_no_other_clips_result(world: World, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    names = ["clip_00", "clip_01", "clip_03"]
    for name in names:
        (videos / f"{name}.mp4").write_bytes((world.clips / f"{name}.mp4").read_bytes())
    alone = all_files(extract_quietly(videos, tmp_path / "alone", "hrnet-tiny").folder)
    whole = (world.clips / "clip_02.mp4").read_bytes()
    (videos / "clip_02.mp4").write_bytes(whole[: len(whole) // 2] + bytes(len(whole) // 4))
    (videos / "clip_00a.mp4").write_bytes(b"no video at all")
    report = extract_quietly(videos, tmp_path / "among", "hrnet-tiny")
    among = all_files(report.folder)
    assert "clip_00a.mp4" in report.failed
    assert set(alone) == {f"{name}.pkl" for name in names}
    assert {name: among[name] for name in alone} == alone

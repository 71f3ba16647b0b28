"""Cleaning steps for whole persons, the order of all cleaning steps, and their settings.

The same steps apply to every estimator. Duplicate persons are removed before tracking; all other steps work on tracks.
`clean` applies, in this order: score threshold, jump removal, track filter, gap filling, smoothing, ranking. Each step
is a pure function that appends its parameters and counts to the history.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from pose_extraction.arrays.mapped import row_blocks
from pose_extraction.arrays.statistics import Values
from pose_extraction.errors import UsageError
from pose_extraction.oks import OUTLINE_SHARE, box_area, box_inside, median_seen, oks_matrix
from pose_extraction.poses import FramePoses, PoseTrack, VideoPoses
from pose_extraction.tracking.joint_cleaning import (
    body_size,
    fill_gaps,
    mask_low_scores,
    remove_jumps,
    smooth,
    with_step,
)
from pose_extraction.tracking.stored_tracks import selected

# Defaults of `remove_duplicates`.
INSIDE, ALIKE = 0.8, 0.5

__all__ = [
    "CleaningSettings",
    "clean",
    "drop_tracks",
    "duplicates_entry",
    "fill_gaps",
    "mask_low_scores",
    "rank_persons",
    "remove_duplicates",
    "remove_jumps",
    "smooth",
]


@dataclass(frozen=True)
class CleaningSettings:
    """Settings of `clean`. Lengths are in body sizes (square root of the area of the person's box), times in seconds.

    Args:
        min_joint_score: Joints with a score below this value, in [0, 1], are treated as not seen.
        deviations: Outlier threshold in standard deviations of the track, estimated from the median absolute deviation.
        min_speed: Speeds of a joint relative to the body below this value are never jumps, in body sizes per second; 8
            is about 7 m/s.
        min_stretch: Excess lengths of a bone below this value are never outliers, in body sizes.
        min_seconds: Minimum duration of a track.
        min_frames: Minimum number of frames in which the person of a track was detected.
        min_area_share: Minimum mean area of the boxes of a track, as a fraction of the frame area. The default is 1600
            of 1920x1080 pixels, as in PYSKL; 5000 of 960x540, as in MMAction2, removes people in surveillance videos.
        max_gap_seconds: Longest gap to fill, from the last observed position to the next.
        smooth: Whether to smooth.
        smooth_seconds: Width of the smoothing window. Windows with fewer than four frames have no effect.
        max_persons: Maximum number of persons to keep; None keeps all.

    Raises:
        UsageError: A value is negative or not finite, or `max_persons` or the smoothing window is 0.
    """

    min_joint_score: float = 0.2
    deviations: float = 6.0
    min_speed: float = 8.0
    min_stretch: float = 0.25
    min_seconds: float = 0.2
    min_frames: int = 3
    min_area_share: float = 1600 / (1920 * 1080)
    max_gap_seconds: float = 0.5
    smooth: bool = False
    smooth_seconds: float = 0.25
    max_persons: int | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None and (not np.isfinite(value) or value < 0):
                raise UsageError(f"cleaning setting {item.name} is {value}: must be a number >= 0")
        if self.max_persons == 0:
            raise UsageError("cleaning setting max_persons is 0: must be at least 1, or none to keep all persons")
        if self.smooth and self.smooth_seconds == 0:
            raise UsageError("cleaning setting smooth_seconds is 0: must be greater than 0, or disable smoothing")


def clean(video: VideoPoses, settings: CleaningSettings) -> VideoPoses:
    """Apply all cleaning steps to a tracked video.

    Args:
        video: Tracked video; not modified.
        settings: Thresholds of the steps.

    Returns:
        The cleaned video, with one entry per step appended to its history.
    """
    video = mask_low_scores(video, threshold=settings.min_joint_score)
    video = remove_jumps(
        video, deviations=settings.deviations, min_speed=settings.min_speed, min_stretch=settings.min_stretch
    )
    video = drop_tracks(
        video,
        min_seconds=settings.min_seconds,
        min_frames=settings.min_frames,
        min_area_share=settings.min_area_share,
    )
    video = fill_gaps(video, max_seconds=settings.max_gap_seconds)
    if settings.smooth:
        video = smooth(video, window_seconds=settings.smooth_seconds)
    return rank_persons(video, max_persons=settings.max_persons)


def remove_duplicates(frame: FramePoses, *, inside: float = INSIDE, alike: float = ALIKE) -> FramePoses:
    """Remove duplicate detections of the same person, before tracking.

    A detection is a duplicate if more than `inside` of its box lies in another box with at least the same score (for
    equal scores, an earlier one), and the two poses are similar. Two people one behind the other have such boxes, but
    different poses. If a pose has no joints, only its box counts.

    Args:
        frame: Detected persons.
        inside: Fraction of the area of a box, in [0, 1].
        alike: Threshold of the object keypoint similarity (OKS), in [0, 1], computed with the area of the larger box.

    Returns:
        The frame without duplicates.
    """
    keep = _distinct(frame, inside, alike) if frame.num_persons > 1 else None
    if keep is None or keep.all():
        return frame
    parts = (frame.box, frame.box_score, frame.keypoint, frame.keypoint_score)
    return FramePoses(frame.frame_index, frame.time, *(part[keep] for part in parts))


def duplicates_entry(removed: int) -> dict[str, Any]:
    """Return the history entry of `remove_duplicates` for a video.

    Args:
        removed: Number of persons that were removed from its frames.
    """
    parameters = {"inside": INSIDE, "alike": ALIKE}
    return {"step": "remove_duplicates", "parameters": parameters, "counts": {"persons_removed": removed}}


def _distinct(frame: FramePoses, inside: float, alike: float) -> np.ndarray:
    """Return a mask (M,) of the persons to keep."""
    box, order = frame.box.astype(float), np.arange(frame.num_persons)
    score = frame.box_score
    ahead = (score[None] > score[:, None]) | ((score[None] == score[:, None]) & (order[None] < order[:, None]))
    suspect = (box_inside(box, box) > inside) & ahead
    if not suspect.any():
        return ~suspect.any(1)
    keypoint = frame.keypoint.astype(float)
    area = OUTLINE_SHARE * np.maximum(box_area(box), 1.0)
    # Symmetric, and computed with the larger area, so that it does not matter which box is the outer one.
    similarity = oks_matrix(keypoint, keypoint, area)
    similarity = np.maximum(similarity, similarity.T)
    blind = np.isnan(keypoint[..., 0]).all(1)
    return ~(suspect & ((similarity > alike) | blind[:, None])).any(1)


def drop_tracks(video: VideoPoses, *, min_seconds: float, min_frames: int, min_area_share: float) -> VideoPoses:
    """Remove tracks that are too short, too small or empty.

    The limits are relaxed where they would leave the video empty: a track that spans at least half of the sampled
    frames is never too short, and a track at least half as large as the largest remaining one is never too small.

    Args:
        video: Tracked video.
        min_seconds: Minimum duration, including the duration of the last frame.
        min_frames: Minimum number of frames in which the person was detected.
        min_area_share: Minimum mean area of the boxes, as a fraction of the frame area.

    Returns:
        The video without these tracks.
    """
    interval = float(np.median(np.diff(video.time))) if video.num_frames > 1 else 0.0
    # Areas of the tracks that last, by their number.
    area: dict[int, float] = {}
    empty = short = 0
    for number, track in enumerate(video.tracks):
        seconds = float(video.time[track.stop - 1] - video.time[track.start]) + interval
        brief = seconds < min_seconds - 1e-6 or int(track.seen.sum()) < min_frames
        if all(np.isnan(track.keypoint[rows, :, 0]).all() for rows in track.row_blocks()):
            empty += 1
        elif brief and len(track) < 0.5 * video.num_frames:
            short += 1
        else:
            area[number] = _area(track)
    share = {number: part / (video.size[0] * video.size[1]) for number, part in area.items()}
    least = min(min_area_share, 0.5 * max(share.values(), default=0.0))
    kept = [number for number, part in share.items() if part >= least]
    counts = {
        "tracks_empty": empty,
        "tracks_too_short": short,
        "tracks_too_small": len(area) - len(kept),
        "tracks_kept": len(kept),
    }
    parameters = {"min_seconds": min_seconds, "min_frames": min_frames, "min_area_share": min_area_share}
    return with_step(video, selected(video.tracks, kept), "drop_tracks", parameters, counts)


def _area(track: PoseTrack) -> float:
    """Return the mean area of a track's boxes in square pixels; 0 if it has no boxes."""
    area = np.concatenate([box_area(track.box[rows].astype(float)) for rows in track.row_blocks()])
    area = area[~np.isnan(area)]
    return float(area.mean()) if len(area) else 0.0


def rank_persons(video: VideoPoses, *, max_persons: int | None) -> VideoPoses:
    """Sort persons by importance, and keep the first `max_persons`.

    Importance is the product of presence (fraction of the video in which the person was detected), mean joint score,
    square root of the body size relative to the frame, and motion. Motion saturates, so that a moving person ranks
    above a bystander, but the fastest person does not necessarily rank above the nearest. The order of the input does
    not matter.

    Args:
        video: Tracked video.
        max_persons: Maximum number of persons to keep; None keeps all.

    Returns:
        The video with its tracks sorted.
    """
    ranks = [(-_importance(video, track), *_tie_breaker(track)) for track in video.tracks]
    order = sorted(range(len(ranks)), key=ranks.__getitem__)
    kept = order[:max_persons]
    counts = {"persons_kept": len(kept), "persons_dropped": len(order) - len(kept)}
    tracks = selected(video.tracks, kept)
    return with_step(video, tracks, "rank_persons", {"max_persons": max_persons}, counts)


def _importance(video: VideoPoses, track: PoseTrack) -> float:
    size = body_size(track)
    scores = Values(track.keypoint_score.size, np.float32)
    for rows in track.row_blocks():
        part = track.keypoint_score[rows]
        scores.add(part[part > 0])
    presence = float(track.seen.sum()) / max(video.num_frames, 1)
    score = scores.mean() if len(scores) else 0.0
    relative_size = size / np.sqrt(video.size[0] * video.size[1])
    motion = _motion(track.keypoint, size, video.time[track.start : track.stop])
    return round(float(presence * score * np.sqrt(relative_size) * (0.1 + 0.9 * motion / (motion + 0.3))), 9)


def _motion(keypoint: np.ndarray, size: float, time: np.ndarray) -> float:
    """Return the amount of motion in body sizes per second.

    Motion is measured over intervals of 0.2 s, because shorter intervals measure mainly noise. The motion of the limbs
    relative to the body has weight 1, the motion of the body itself 0.25: a moving camera makes a poster travel, but
    does not move its limbs.
    """
    if len(time) < 2:
        return 0.0
    stride = int(np.clip(np.round(0.2 / np.median(np.diff(time))), 1, len(time) - 1))
    elapsed = time[stride:] - time[:-stride]
    limbs, travel = Values(len(elapsed) * keypoint.shape[1]), Values(len(elapsed))
    for rows in row_blocks(len(elapsed), keypoint):
        place = keypoint[rows.start : rows.stop + stride].astype(float) / size
        step = (place[stride:] - place[:-stride]) / elapsed[rows, None, None]
        path = median_seen(step, axis=1)
        for values, speed in ((limbs, step - path[:, None]), (travel, path)):
            distance = np.linalg.norm(speed, axis=-1)
            values.add(distance[~np.isnan(distance)])
    return limbs.mean() + 0.25 * travel.mean() if len(limbs) else 0.0


def _tie_breaker(track: PoseTrack) -> tuple[float, ...]:
    """Return a tie-breaker for tracks of equal importance, based on their content."""
    first = np.nan_to_num(track.box[np.argmax(track.seen)]) if track.seen.any() else np.zeros(4)
    return (track.start, -len(track), *(float(value) for value in first), track.track_id)

"""Synthetic motion with known identities, for testing tracking and cleaning.

A surveillance-like scene of 1280x720 at about 25 Hz with uneven time stamps, in two shots with a camera cut between
them. The people walk with swinging limbs on irregular paths. The simulated output of an estimator is the true pose with
noise, missing joints, displaced joints, missing detections in several consecutive frames, spurious poses, and low
scores where one person is behind another.

The motion in a shot, which varies with the seed:
    0, 1   walk towards each other on the same line, in step, and pass through each other: OKS above 0.5 as they cross
    2, 3   the same, further back, while 2 slows down just after the crossing
    4      enters from a side, is hidden for a second behind a pillar while walking, and leaves on the other side
    5      stands and fidgets where 0 and 1 pass close by
    6      meets 7 at half a body's width and both turn back: boxes overlap, prediction would swap them
    7      as 6
The second shot shows other people: person k of shot s has the identity 100 * s + k.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.interpolate import PchipInterpolator

from pose_extraction.poses import FramePoses

SIZE = (720, 1280)

# Joints of a standing body in body heights: feet at (0, 0), y downwards, x towards the left side of the body.
STANDING = np.array(
    [
        (0.0, -0.92),
        (0.02, -0.94),
        (-0.02, -0.94),
        (0.04, -0.93),
        (-0.04, -0.93),
        (0.11, -0.81),
        (-0.11, -0.81),
        (0.14, -0.64),
        (-0.14, -0.64),
        (0.15, -0.49),
        (-0.15, -0.49),
        (0.08, -0.52),
        (-0.08, -0.52),
        (0.08, -0.28),
        (-0.08, -0.28),
        (0.08, -0.03),
        (-0.08, -0.03),
    ]
)
# Amplitude of each joint along the path in a stride, in body heights; left and right have opposite phases.
SWING = np.zeros(17)
SWING[[7, 8, 9, 10, 13, 14, 15, 16]] = [0.05, -0.05, 0.1, -0.1, -0.06, 0.06, -0.13, 0.13]


@dataclass
class MadeMotion:
    """A synthetic clip.

    Args:
        frames: Simulated output of an estimator, T frames.
        truth: Identities int64 (M,) of the detections in each frame, -1 for spurious ones.
        keypoint: float64 (P, T, 17, 2), true poses, NaN where the person is not in the scene.
        person_ids: P identities, in the order of `keypoint`.
        visible: bool (P, T), whether the person is in the scene and not hidden.
        cut: Position of the first frame after the camera cut.
        crossings: (person, person, position) of the scripted crossings, persons as rows of `keypoint`.
    """

    frames: list[FramePoses]
    truth: list[np.ndarray]
    keypoint: np.ndarray
    person_ids: np.ndarray
    visible: np.ndarray
    cut: int
    crossings: list[tuple[int, int, int]]


@dataclass
class _Walk:
    """Waypoints of a person: times (s), feet (x, y) in pixels, body height, hidden and present periods (s)."""

    times: list[float]
    feet: list[tuple[float, float]]
    height: float
    present: tuple[float, float]
    hidden: tuple[float, float] = (0.0, 0.0)
    in_step_at: float = 0.0


def _choreography(random: np.random.Generator, length: float) -> tuple[list[_Walk], list[tuple[int, int, float]]]:
    whole = (0.0, length)
    walks, crossings = [], []
    for pair in range(2):
        height = random.uniform(210, 260) - 50 * pair
        ground = random.uniform(560, 680) - 170 * pair
        meeting = random.uniform(0.35, 0.6) * length
        x = random.uniform(540, 740)
        for side in (-1, 1):
            speed = random.uniform(0.55, 0.85) * height
            after = speed * (0.35 if pair and side < 0 else random.uniform(0.8, 1.2))
            offset = side * random.uniform(0.0, 0.01) * height
            times = [0.0, meeting - 0.6, meeting, meeting + 0.5, length]
            xs = [-speed * meeting, -speed * 0.6, 0.0, speed * 0.5, speed * 0.5 + after * (length - meeting - 0.5)]
            feet = [(x + side * value, ground + offset) for value in xs]
            walks.append(_Walk(times, feet, height * random.uniform(0.995, 1.005), whole, in_step_at=meeting))
        crossings.append((2 * pair, 2 * pair + 1, meeting))

    side = int(random.choice((-1, 1)))
    start, height = random.uniform(0.5, 1.0), random.uniform(200, 280)
    stop = length - random.uniform(0.3, 0.8)
    ground = random.uniform(420, 700)
    hidden = random.uniform(0.3, 0.5) * length
    ends: list[tuple[float, float]] = [(640 - side * 680, ground), (640 + side * 680, ground + random.uniform(-40, 40))]
    walks.append(_Walk([start, stop], ends, height, (start, stop), (hidden, hidden + 1.0)))

    place = (float(random.uniform(480, 800)), float(random.uniform(600, 700)))
    walks.append(_Walk([0.0, length], [place, place], random.uniform(200, 260), whole))

    height, ground, x = random.uniform(170, 210), random.uniform(380, 440), random.uniform(300, 980)
    meeting = random.uniform(0.4, 0.6) * length
    for side in (-1, 1):
        near, far = x + side * 0.16 * height, x + side * random.uniform(1.2, 1.6) * height
        times = [0.0, meeting - 0.2, meeting + 0.4, length]
        walks.append(_Walk(times, [(v, ground) for v in (far, near, near, far)], height, whole))
    return walks, crossings


def _wobble(random: np.random.Generator, times: np.ndarray, amount: float) -> np.ndarray:
    """Smooth random deviation (T, 2) of about `amount`, with zero mean."""
    waves = [
        np.sin(2 * np.pi * random.uniform(0.2, 0.9) * times[:, None] + random.uniform(0, 6.3, 2)) for _ in range(3)
    ]
    return amount * np.mean(waves, axis=0)


def _poses(random: np.random.Generator, walk: _Walk, times: np.ndarray) -> np.ndarray:
    """Ground truth poses (T, 17, 2) of a walk."""
    path = PchipInterpolator(walk.times, np.asarray(walk.feet, float))
    feet = path(np.clip(times, walk.times[0], walk.times[-1])) + _wobble(random, times, 0.008 * walk.height)
    velocity = np.gradient(feet, times, axis=0) / walk.height
    walking = np.clip(np.abs(velocity[:, 0]) / 0.5, 0, 1)
    # 0.9 strides per second, with phase 0 at `in_step_at`. A standing person moves arms and head slightly instead.
    phase = np.sin(2 * np.pi * 0.9 * (times - walk.in_step_at))
    pose = np.tile(STANDING, (len(times), 1, 1))
    # Walking persons are seen from the side, standing ones from the front.
    pose[..., 0] *= (1 - 0.75 * walking)[:, None]
    pose[..., 0] += (walking * phase * np.sign(velocity[:, 0] + 1e-9))[:, None] * SWING
    fidget = (
        (1 - walking)[:, None, None] * 0.03 * np.sin(2 * np.pi * 0.5 * times + random.uniform(0, 6.3))[:, None, None]
    )
    pose[:, 7:11] += fidget * np.array([1.0, -1.5])
    return feet[:, None] + walk.height * pose


def _box(pose: np.ndarray, margin: float) -> np.ndarray:
    low, high = pose.min(-2), pose.max(-2)
    return np.concatenate((low - margin, high + margin), -1)


def make_motion(
    seed: int, *, seconds: float = 12.0, rate: float = 25.0, missing: float = 0.2, noise: float = 0.012
) -> MadeMotion:
    """Create a synthetic clip.

    Args:
        seed: Seed of all random numbers.
        seconds: Duration of both shots together.
        rate: Mean frames per second; intervals vary by up to 30 %.
        missing: Fraction of missing detections, in runs of about 2.5 frames.
        noise: Standard deviation of the joint positions in body heights.
    """
    random = np.random.default_rng(seed)
    count = int(seconds * rate)
    times = np.concatenate(([0.0], np.cumsum(random.uniform(0.7, 1.3, count - 1)))) / rate
    cut = count // 2
    shots = (slice(0, cut), slice(cut, count))
    keypoints: list[Any] = []
    ids: list[Any] = []
    visible: list[Any] = []
    heights: list[Any] = []
    crossings: list[Any] = []
    for shot, rows in enumerate(shots):
        clock = times[rows] - times[rows][0]
        walks, meetings = _choreography(random, clock[-1])
        crossings += [
            (len(ids) + first, len(ids) + second, rows.start + int(np.searchsorted(clock, meeting)))
            for first, second, meeting in meetings
        ]
        for number, walk in enumerate(walks):
            pose = np.full((count, 17, 2), np.nan)
            pose[rows] = _poses(random, walk, clock)
            x = np.nan_to_num(pose[:, 0, 0], nan=-1.0)
            present = np.zeros(count, bool)
            present[rows] = (clock >= walk.present[0]) & (clock <= walk.present[1])
            present &= (x > 0) & (x < SIZE[1])
            pose[~present] = np.nan
            hidden = np.zeros(count, bool)
            hidden[rows] = (clock >= walk.hidden[0]) & (clock < walk.hidden[1])
            keypoints.append(pose)
            visible.append(present & ~hidden)
            heights.append(walk.height)
            ids.append(100 * shot + number)
    truth = np.stack(keypoints)
    seen = np.stack(visible)
    frames, identities = _observe(random, times, truth, seen, np.asarray(heights), np.asarray(ids), missing, noise)
    return MadeMotion(frames, identities, truth, np.asarray(ids), seen, cut, crossings)


def make_meeting(seed: int, *, rate: float, turns: bool, seconds: float = 6.0, missing: float = 0.02) -> MadeMotion:
    """Create a clip of two people who walk towards each other, and turn back or pass.

    They slow down within 0.3 s before they turn, at a distance of 0.3 to 0.7 body heights.

    Args:
        seed: Seed of all random numbers.
        rate: Frames per second; intervals vary by up to 5 %.
        turns: Whether they turn back, or walk on past each other.
        seconds: Duration.
        missing: Fraction of missing detections.
    """
    random = np.random.default_rng(seed)
    count = int(seconds * rate)
    times = np.concatenate(([0.0], np.cumsum(random.uniform(0.95, 1.05, count - 1)))) / rate
    meeting = random.uniform(0.4, 0.6) * times[-1]
    height, ground, x = random.uniform(180, 260), random.uniform(400, 680), random.uniform(560, 720)
    walks = []
    for side in (-1, 1):
        speed, gap = random.uniform(0.6, 1.3) * height, random.uniform(0.15, 0.35) * height
        level = ground + random.uniform(-0.02, 0.02) * height
        knots = np.unique([0.0, meeting - 0.3, meeting - 0.1, meeting + 0.1, meeting + 0.3, times[-1]])
        away = np.maximum(np.abs(knots - meeting) - 0.2, 0.0) * speed + gap
        path = x + side * (away if turns else -speed * (knots - meeting))
        feet = [(float(place), level) for place in path]
        walks.append(_Walk([float(knot) for knot in knots], feet, height, (0.0, times[-1]), in_step_at=meeting))
    truth = np.stack([_poses(random, walk, times) for walk in walks])
    seen = np.ones(truth.shape[:2], bool)
    heights, ids = np.full(2, height), np.arange(2)
    frames, identities = _observe(random, times, truth, seen, heights, ids, missing, 0.012)
    return MadeMotion(frames, identities, truth, ids, seen, count, [])


def _observe(
    random: np.random.Generator,
    times: np.ndarray,
    truth: np.ndarray,
    visible: np.ndarray,
    heights: np.ndarray,
    ids: np.ndarray,
    missing: float,
    noise: float,
) -> tuple[list[FramePoses], list[np.ndarray]]:
    lost = np.zeros(len(truth), bool)
    recover = 0.4
    lose = recover * missing / (1 - missing)
    frames, identities = [], []
    for position, time in enumerate(times):
        lost = np.where(lost, random.random(len(lost)) >= recover, random.random(len(lost)) < lose)
        rows = np.flatnonzero(visible[:, position] & ~lost)
        clean = truth[rows, position]
        # Feet lower in the image are closer. A person with a closer one within a quarter of a height is half occluded.
        feet, centre = clean[:, 15:, 1].max(-1), clean[:, :, 0].mean(-1)
        close = np.abs(centre[:, None] - centre) < 0.25 * heights[rows, None]
        covered = (close & (feet[:, None] < feet)).any(-1)
        pose = (
            clean + random.normal(0, 1, clean.shape) * noise * heights[rows, None, None] * (1 + covered)[:, None, None]
        )
        thrown = random.random(pose.shape[:2]) < 0.01
        pose[thrown] += random.uniform(-0.4, 0.4, (thrown.sum(), 2)) * np.repeat(heights[rows], thrown.sum(-1))[:, None]
        level = np.where(covered, 0.4, 0.8)
        joint_score = np.clip(random.normal(level[:, None], 0.1, pose.shape[:2]), 0.05, 1)
        box_score = np.clip(random.normal(level, 0.08), 0.15, 0.99)
        box = _box(pose, 0.0) + random.normal(0, 0.01, (len(rows), 4)) * heights[rows, None]
        unseen = random.random(pose.shape[:2]) < np.where(covered, 0.25, 0.03)[:, None]
        pose[unseen], joint_score[unseen] = np.nan, 0
        identity = ids[rows]
        if random.random() < 0.04:
            ghost = STANDING * random.uniform(100, 250) + random.uniform((100, 300), (1180, 700))
            pose, joint_score = (
                np.concatenate((pose, ghost[None])),
                np.concatenate((joint_score, np.full((1, 17), 0.3))),
            )
            box = np.concatenate((box, _box(ghost, 5.0)[None]))
            box_score, identity = np.append(box_score, random.uniform(0.15, 0.45)), np.append(identity, -1)
        order = random.permutation(len(pose))
        values = [v[order].astype(np.float32) for v in (box, box_score, pose, joint_score)]
        frames.append(FramePoses(position, float(time), *values))
        identities.append(identity[order].astype(np.int64))
    return frames, identities

"""Descriptors of movement as tensor operations; `recognition.data.descriptors.movement` in NumPy, step by step.

Persons come from clips of different lengths. All are computed together, in float64, each within its own
range of frames.
"""

import torch

from pose_extraction.skeleton import COCO17
from recognition.data.descriptors import movement as described
from recognition.exporting.tensors import (
    count_up_to,
    deviation_of,
    extremes_of,
    first_place,
    last_place,
    mean_of,
    numbers_up_to,
    percentiles,
    places_in_order,
    range_of,
    rows_at,
    window_means,
)

_RATE = described.RATE


def describe_clips(
    keypoint: torch.Tensor, score: torch.Tensor, time: torch.Tensor, count: torch.Tensor
) -> torch.Tensor:
    """Describe the movement in clips: the mean over the persons who are seen enough.

    Args:
        keypoint: float32 (N, S, T, 17, 2).
        score: float32 (N, S, T, 17), 0 where a joint was not seen.
        time: float64 (N, T), ascending times in seconds.
        count: int64 (N,), number of frames of each clip.

    Returns:
        float32 (N, D), NaN where a number is unknown for every person.
    """
    clips, places = score.shape[:2]
    total = (score > 0).flatten(2).sum(dim=2)  # (N, S)
    enough = total >= described.SHARE_OF_MOST_SEEN * total.amax(dim=1, keepdim=True).double()
    # One person at least, so that no tensor is empty.
    place = torch.arange(clips * places, device=score.device)
    row = ((total.flatten() > 0) | (place == 0)).nonzero()[:, 0]
    clip_of = torch.div(row, places, rounding_mode="floor")
    numbers, known = describe(keypoint.flatten(0, 1)[row], score.flatten(0, 1)[row] > 0, time[clip_of], count[clip_of])
    counts = known & enough.flatten()[row][:, None]
    belongs = (clip_of == torch.arange(clips, device=row.device)[:, None]).double()  # (N, P)
    weight = belongs @ counts.double()
    # Rounded as the descriptors of single persons are.
    mean = (belongs @ torch.where(counts, numbers.float().double(), 0.0)) / weight
    return torch.where(weight > 0, mean, torch.nan).float()


def describe(
    keypoint: torch.Tensor, seen: torch.Tensor, time: torch.Tensor, count: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Describe the movement of persons.

    Args:
        keypoint: float32 (P, T, 17, 2).
        seen: bool (P, T, 17).
        time: float64 (P, T).
        count: int64 (P,), number of frames of each person's clip.

    Returns:
        float64 (P, D), and bool (P, D): which of the numbers are known.
    """
    there = seen.any(dim=2)
    first, last = first_place(there)[0], last_place(there)
    joints, seen = _with_sides(keypoint.double(), seen)
    joints, valid = _evenly(joints, seen, time, count, first, last)
    ends = first * 0, valid.sum(dim=1) - 1
    joints = _smoothed(joints.flatten(2), *ends).view(joints.shape)
    pairs = len(described.SIDES)
    joints, middle, apart = joints.split([COCO17.num_joints, pairs, pairs], dim=2)
    ever, of_sides = seen.any(dim=1).split([COCO17.num_joints, 2 * pairs], dim=1)  # (P, 17), (P, 2 * pairs)
    hips, has_hips = _middle(joints, ever, described.HIPS)
    shoulders, has_shoulders = _middle(joints, ever, described.SHOULDERS)
    torso = _torso(joints, ever, valid, (hips, has_hips), (shoulders, has_shoulders))
    below = torch.stack([torso * 0, torso], dim=1)[:, None]
    weight = ever[:, None, :, None].double()
    centre = (joints * weight).sum(dim=2) / weight.sum(dim=2).clamp(min=1)
    root = torch.where(has_shoulders[:, None, None], shoulders + below, centre)
    root = torch.where(has_hips[:, None, None], hips, root)
    unit = torso[:, None, None]
    trunk = (shoulders - hips) / unit
    signals, known = _signals((joints - root[:, :, None]) / unit[..., None], ever, trunk, has_hips & has_shoulders)
    anyone = ever.any(dim=1)[:, None]
    across, across_known = _across(joints, root, torso, valid, ever)
    parts = [*_posture(signals, valid), *_speed(signals, valid), *_travel(root / unit, valid, ends), *across]
    sides = (torch.cat([middle - root[:, :, None], apart], dim=2) / unit[..., None]).flatten(2)
    parts += [*_posture(sides, valid), *_speed(sides, valid)]
    whole = anyone.expand(-1, described.GROUPS[3][1])
    flags = [*[known] * 7, whole, *[across_known] * 2, *[_twice(of_sides)] * 7]
    return torch.cat(parts, dim=1), torch.cat(flags, dim=1) & anyone


def _with_sides(joints: torch.Tensor, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return joints and flags followed by the middles of the joints of both sides, and by their distances."""
    left, right = described.SIDES.T.tolist()
    first, second, both = joints[:, :, left], joints[:, :, right], seen[:, :, left] & seen[:, :, right]
    joints = torch.cat([joints, (first + second) / 2, (first - second).abs()], dim=2)
    return joints, torch.cat([seen, both, both], dim=2)


def _evenly(
    joints: torch.Tensor,
    seen: torch.Tensor,
    time: torch.Tensor,
    count: torch.Tensor,
    first: torch.Tensor,
    last: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return joints (P, L, 17, 2) at `RATE`, with gaps filled, and which of their frames are valid, bool (P, L)."""
    flat = _filled(joints, seen, time).flatten(2)
    width = _frames_together(time, first, last)
    averaged = window_means(flat, width, first, last)
    flat = torch.where((width > 1)[:, None, None], averaged, flat)
    begin, end = rows_at(time, first[:, None]), rows_at(time, last[:, None])
    length = (((end - begin) * _RATE).round().to(torch.int64) + 1).clamp(min=described.FEWEST)  # (P, 1)
    place = numbers_up_to(length)
    new = torch.minimum(begin + place.double() * ((end - begin) / (length - 1)), end)
    before = count_up_to(time, count, new) - 1
    before = torch.minimum(torch.maximum(before, first[:, None]), last[:, None])
    after = torch.minimum(before + 1, last[:, None])
    earlier = rows_at(time, before)
    span = torch.where(after > before, rows_at(time, after) - earlier, 1.0)
    share = ((new - earlier) / span).clamp(0, 1)[..., None]
    mixed = rows_at(flat, before) * (1 - share) + rows_at(flat, after) * share
    return mixed.unflatten(2, joints.shape[2:]), place < length


def _filled(joints: torch.Tensor, seen: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
    """Interpolate joints (P, T, V, 2) linearly in time where they were not seen, bool (P, T, V)."""
    order = places_in_order(seen).clamp(max=seen.shape[1] - 1)
    rank = seen.to(torch.int64).cumsum(dim=1)
    total = rank[:, -1:]
    previous = (rank - 1).clamp(min=0)
    following = torch.minimum(torch.where(seen, rank - 1, rank), (total - 1).clamp(min=0)).clamp(min=0)
    before, after = torch.gather(order, 1, previous), torch.gather(order, 1, following)
    when = time[..., None].expand(seen.shape)
    earlier, later = torch.gather(when, 1, before), torch.gather(when, 1, after)
    gap = torch.where(later > earlier, later - earlier, 1.0)[..., None]
    start = torch.gather(joints, 1, before[..., None].expand(joints.shape))
    end = torch.gather(joints, 1, after[..., None].expand(joints.shape))
    between = torch.where(later > earlier, when - earlier, 0.0)[..., None]
    return (end - start) / gap * between + start


def _frames_together(time: torch.Tensor, first: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """Return how many frames fall into one at `RATE`, int64 (P,), at least 1."""
    place = torch.arange(time.shape[1], device=time.device)
    following = torch.cat([time[:, 1:], time[:, -1:]], dim=1)
    inside = (place >= first[:, None]) & (place < last[:, None])
    steps = torch.sort((following - time).masked_fill(~inside, torch.inf), dim=1).values
    number = (last - first)[:, None]
    low = torch.div((number - 1).clamp(min=0), 2, rounding_mode="floor")
    high = torch.div(number, 2, rounding_mode="floor")
    median = (torch.gather(steps, 1, low) + torch.gather(steps, 1, high))[:, 0] / 2
    return (1 / (median * _RATE)).round().to(torch.int64).clamp(min=1)


def _smoothed(values: torch.Tensor, first: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    return window_means(values, first * 0 + described.SMOOTHING, first, last)


def _middle(joints: torch.Tensor, ever: torch.Tensor, pair: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the middle of two joints (P, L, 2), or the one that was seen, and whether there is one, bool (P,)."""
    left, right = joints[:, :, pair[0]], joints[:, :, pair[1]]
    has_left, has_right = ever[:, pair[0], None, None], ever[:, pair[1], None, None]
    one = torch.where(has_left, left, right)
    return torch.where(has_left & has_right, (left + right) / 2, one), ever[:, list(pair)].any(dim=1)


def _torso(
    joints: torch.Tensor,
    ever: torch.Tensor,
    valid: torch.Tensor,
    hips: tuple[torch.Tensor, torch.Tensor],
    shoulders: tuple[torch.Tensor, torch.Tensor],
) -> torch.Tensor:
    """Return the length of the torso, float64 (P,)."""
    left, right = described.SHOULDERS
    trunk = _length(shoulders[0] - hips[0])
    width = described.SHOULDERS_TO_TORSO * _length(joints[:, :, left] - joints[:, :, right])
    found = percentiles(torch.stack([trunk, width], dim=2), valid, (75,))[:, 0]
    usable = torch.stack([hips[1] & shoulders[1], ever[:, left] & ever[:, right]], dim=1)
    known = valid[:, :, None] & ever[:, None]
    low, high = extremes_of(joints.flatten(1, 2), known.flatten(1))
    extent = (high - low).amax(dim=1) / 3
    longest = torch.where(usable.any(dim=1), torch.where(usable, found, 0.0).amax(dim=1), extent)
    # A person who is never seen has no extent.
    return torch.where(ever.any(dim=1), longest, 1.0).clamp(min=1e-6)


def _signals(
    pose: torch.Tensor, ever: torch.Tensor, trunk: torch.Tensor, has_trunk: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what is described over time (P, L, S), and which of it is known, bool (P, S)."""
    angles, limbs, pairs = (table.tolist() for table in (described.ANGLES, described.LIMBS, described.DISTANCES))
    one, middle, other = ([row[side] for row in angles] for side in range(3))
    first, second = pose[:, :, one] - pose[:, :, middle], pose[:, :, other] - pose[:, :, middle]
    cosine = (first * second).sum(dim=3) / (_length(first) * _length(second)).clamp(min=1e-6)
    begin, end = ([row[side] for row in limbs] for side in range(2))
    limb = pose[:, :, end] - pose[:, :, begin]
    limb = limb / _length(limb)[..., None].clamp(min=1e-6)
    here, there = ([row[side] for row in pairs] for side in range(2))
    distance = _length(pose[:, :, here] - pose[:, :, there])
    placed = described.PLACED.tolist()
    signals = torch.cat([pose[:, :, placed].flatten(2), cosine, limb.flatten(2), trunk, distance], dim=2)
    known = [
        _twice(ever[:, placed]),
        ever[:, one] & ever[:, middle] & ever[:, other],
        _twice(ever[:, begin] & ever[:, end]),
        has_trunk[:, None].expand(-1, 2),
        ever[:, here] & ever[:, there],
    ]
    return signals, torch.cat(known, dim=1)


def _posture(signals: torch.Tensor, valid: torch.Tensor) -> list[torch.Tensor]:
    spread = percentiles(signals, valid, (10, 50, 90)).flatten(1)
    return [mean_of(signals, valid), spread, deviation_of(signals, valid)]


def _speed(signals: torch.Tensor, valid: torch.Tensor) -> list[torch.Tensor]:
    change, moving = _change(signals, valid)
    return [mean_of(change.abs(), moving), deviation_of(change, moving)]


def _travel(root: torch.Tensor, valid: torch.Tensor, ends: tuple[torch.Tensor, torch.Tensor]) -> list[torch.Tensor]:
    """Movement of the hips (P, L, 2) in torso lengths."""
    change, moving = _change(_smoothed(root, *ends), valid)
    first, last = (rows_at(root, place[:, None])[:, 0] for place in ends)
    moved = (last - first) / ends[1][:, None].double() * _RATE
    speed = change.abs()
    fast = percentiles(speed, moving, (90,))[:, 0]
    return [
        mean_of(speed, moving),
        deviation_of(change, moving),
        fast,
        moved,
        moved.abs(),
        range_of(root, valid),
    ]


def _across(
    joints: torch.Tensor, root: torch.Tensor, torso: torch.Tensor, valid: torch.Tensor, ever: torch.Tensor
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Return the movement of head, hands and feet across the image, and which of it is known."""
    chosen = described.ACROSS.tolist()
    placed = (joints[:, :, chosen] - mean_of(root, valid)[:, None, None]) / torso[:, None, None, None]
    placed = placed.flatten(2)
    change, moving = _change(placed, valid)
    return [mean_of(change.abs(), moving), deviation_of(placed, valid)], _twice(ever[:, chosen])


def _change(values: torch.Tensor, valid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the change of values (P, L, C) per second, (P, L - 1, C), and where it is valid."""
    return (values[:, 1:] - values[:, :-1]) * _RATE, valid[:, 1:]


def _length(vectors: torch.Tensor) -> torch.Tensor:
    return (vectors**2).sum(dim=-1).sqrt()


def _twice(known: torch.Tensor) -> torch.Tensor:
    """Return flags of joints (P, V) for their two coordinates, (P, 2 * V)."""
    return torch.stack([known, known], dim=2).flatten(1)

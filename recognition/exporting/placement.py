"""Position and scale of joints, as tensor operations; `recognition.data.transforms.placement` in NumPy.

Clips are (N, S, T, V, D) with scores (N, S, T, V); a joint that was not seen has score 0, and its position is any
finite number.
"""

import torch

from recognition.data.clip_transforms import ACROSS, MIDDLE, NEXT_TO_ORIGIN, UPWARDS
from recognition.data.transforms.placement import FEWEST_JOINTS
from recognition.exporting.persons import Joints
from recognition.exporting.tensors import extremes_of, first_place, last_place, places_in_order, rows_at
from recognition.settings import DataSettings

# Sine below which two directions count as parallel, as in `_turn_onto`.
_PARALLEL = 1e-9


def to_camera(keypoint: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
    """Map pixels to [-1, 1] over the longer side of frames of `size`, int64 (N, 2): (height, width)."""
    scale = (2 / size.amax(dim=1).double()).float()
    return keypoint * _by_clip(scale) - 1


def placed_in_space(keypoint: torch.Tensor, score: torch.Tensor, count: torch.Tensor, settings: DataSettings) -> Joints:
    """Transform 3D joints according to `data.placement`.

    Args:
        keypoint: float32 (N, S, T, V, 3).
        score: float32 (N, S, T, V).
        count: int64 (N,), number of frames of each clip.
        settings: `placement` is used.
    """
    if settings.placement == "raw":
        return keypoint, score
    if settings.placement == "first_frame":
        seen = score[..., MIDDLE] > 0  # (N, S, T)
        place, _ = first_place(seen.flatten(1))
        origin = rows_at(keypoint[..., MIDDLE, :].flatten(1, 2), place[:, None])[:, 0]
        origin = torch.where(seen.flatten(1).any(dim=1)[:, None], origin, 0.0)
        return keypoint - _by_clip(origin), score
    if settings.placement == "aligned":
        return _aligned(keypoint, score, count)
    if settings.placement == "upright":
        return _turned_upright(keypoint, score, count)
    return _to_body(keypoint, score), score


def network_input(keypoint: torch.Tensor, score: torch.Tensor, size: torch.Tensor, settings: DataSettings) -> Joints:
    """Scale joints, set those that were not seen to zero, and append scores in 2D.

    Args:
        keypoint: float32 (N, S, T, V, D).
        score: float32 (N, S, T, V).
        size: int64 (N, 2), (height, width) of the frames; unused in 3D.
        settings: `placement`, `scale_range_test` and `scores` are used.

    Returns:
        float32 (N, S, T, V, 3), and the scores.
    """
    seen = score > 0
    flat = keypoint.shape[-1] == 2
    if settings.placement == "box":
        keypoint = _crop_scale(keypoint, seen, sum(settings.scale_range_test) / 2)
    elif settings.placement == "frame" and flat:
        longest, (height, width) = size.amax(dim=1).double(), size.double().unbind(dim=1)
        keypoint = (keypoint + 1) * _by_clip(torch.stack([longest / width, longest / height], dim=1).float()) - 1
    keypoint = torch.where(seen[..., None], keypoint, 0.0)
    if flat:
        confidence = score.clamp(0, 1) if settings.scores == "given" else seen.float()
        return torch.cat([keypoint, confidence[..., None]], dim=-1), score
    at_origin = seen & (keypoint == 0).all(dim=-1)
    first = torch.where(at_origin, float(NEXT_TO_ORIGIN), keypoint[..., 0])
    return torch.cat([first[..., None], keypoint[..., 1:]], dim=-1), score


def _crop_scale(keypoint: torch.Tensor, seen: torch.Tensor, ratio: float) -> torch.Tensor:
    valid = seen.flatten(1)
    low, high = extremes_of(keypoint.flatten(1, 3), valid)  # (N, D)
    extent = (high - low).amax(dim=1)
    usable = (valid.sum(dim=1) >= FEWEST_JOINTS) & (extent > 0)
    scale = (2 / (torch.where(usable, extent, 1.0).double() * ratio)).float()
    middle = torch.where(usable[:, None], (low + high) / 2, 0.0)
    placed = ((keypoint - _by_clip(middle)) * _by_clip(scale)).clamp(-1, 1)
    return torch.where(_by_clip(usable), placed, 0.0)


def _to_body(keypoint: torch.Tensor, score: torch.Tensor) -> torch.Tensor:
    seen = score > 0
    place, found = first_place(seen.any(dim=3).flatten(1))
    points = rows_at(keypoint.flatten(1, 2), place[:, None])[:, 0]  # (N, V, 3)
    weight = rows_at(seen.flatten(1, 2), place[:, None])[:, 0, :, None].float()
    origin = (points * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
    low, high = extremes_of(keypoint.flatten(1, 3), seen.flatten(1))
    extent = torch.where(found, (high - low).amax(dim=1), 1.0)
    return (keypoint - _by_clip(origin)) / _by_clip(torch.where(extent > 0, extent, 1.0))


def _aligned(keypoint: torch.Tensor, score: torch.Tensor, count: torch.Tensor) -> Joints:
    there = (score > 0).any(dim=3).flatten(0, 1)  # (N * S, T)
    order, known = places_in_order(there), there.any(dim=1)
    place = torch.arange(there.shape[1], device=there.device)
    # From the beginning to the last pose, if there is one in the first frame; otherwise the poses alone.
    begins = there[:, 0]
    period = torch.where(begins, last_place(there) + 1, there.sum(dim=1)).clamp(min=1)
    turn = place % period[:, None]
    source = torch.where(begins[:, None], turn, torch.gather(order, 1, turn))
    source = torch.where(known[:, None], source, place)
    clips = score.shape[0]
    keypoint = rows_at(keypoint.flatten(0, 1), source).unflatten(0, (clips, -1))
    score = rows_at(score.flatten(0, 1), source).unflatten(0, (clips, -1))
    valid = place < count[:, None]
    score = torch.where(valid[:, None, :, None], score, 0.0)
    keypoint = _upright(keypoint, score)
    line, exists = _bone(keypoint, score, ACROSS)
    return _turned(keypoint, _turn_onto(line, exists, 0)), score


def _turned_upright(keypoint: torch.Tensor, score: torch.Tensor, count: torch.Tensor) -> Joints:
    there = (score > 0).any(dim=3).any(dim=1)  # (N, T)
    place = torch.arange(there.shape[1], device=there.device)
    first, found = first_place(there)
    # The last frame with persons up to each frame: the element of that rank among those that have any.
    rank = (there.to(torch.int64).cumsum(dim=1) - 1).clamp(min=0)
    source = torch.where(place < first[:, None], first[:, None], torch.gather(places_in_order(there), 1, rank))
    source = torch.where(found[:, None], source, place)
    clips, persons = score.shape[:2]
    index = source[:, None].expand(-1, persons, -1).flatten(0, 1)
    moved = rows_at(keypoint.flatten(0, 1), index).unflatten(0, (clips, persons))
    scores = rows_at(score.flatten(0, 1), index).unflatten(0, (clips, persons))
    scores = torch.where((place < count[:, None])[:, None, :, None], scores, 0.0)
    upright = _upright(moved, scores)
    line, exists = _bone(upright, scores, (ACROSS[1], ACROSS[0]))
    # About the vertical axis only.
    line = line * line.new_tensor([1.0, 1.0, 0.0])
    upright = _turned(upright, _turn_onto(line, exists, 0))
    return torch.where(_by_clip(found), upright, keypoint), scores


def _upright(keypoint: torch.Tensor, score: torch.Tensor) -> torch.Tensor:
    """Centre every frame at the first person's `MIDDLE`, and rotate the clip so that `UPWARDS` points along z."""
    seen = (score[:, 0, :, MIDDLE] > 0)[..., None]
    centre = torch.where(seen, keypoint[:, 0, :, MIDDLE], 0.0)
    keypoint = keypoint - centre[:, None, :, None]
    return _turned(keypoint, _turn_onto(*_bone(keypoint, score, UPWARDS), 2))


def _bone(keypoint: torch.Tensor, score: torch.Tensor, ends: tuple[int, int]) -> Joints:
    """Return the vector (N, 3) between two joints of the first person in the first frame, and whether both are seen."""
    exists = (score[:, 0, 0, ends[0]] > 0) & (score[:, 0, 0, ends[1]] > 0)
    return keypoint[:, 0, 0, ends[1]] - keypoint[:, 0, 0, ends[0]], exists


def _turned(keypoint: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    return (keypoint.flatten(1, 3) @ turn.float().transpose(1, 2)).view(keypoint.shape)


def _turn_onto(vector: torch.Tensor, exists: torch.Tensor, axis: int) -> torch.Tensor:
    """Return rotations (N, 3, 3), float64, from directions (N, 3) to a coordinate axis, by Rodrigues' formula."""
    vector = vector.double()
    length = (vector**2).sum(dim=1).sqrt()
    exists = exists & (length > 0)
    unit = vector / torch.where(exists, length, 1.0)[:, None]
    one, other = (axis + 1) % 3, (axis + 2) % 3
    # The cross product with the axis has no part along it.
    normal = [unit[:, 0] * 0, unit[:, 0] * 0, unit[:, 0] * 0]
    normal[one], normal[other] = unit[:, other], -unit[:, one]
    sine, cosine = (normal[one] ** 2 + normal[other] ** 2).sqrt(), unit[:, axis]
    oblique = exists & (sine >= _PARALLEL)
    x, y, z = (part / torch.where(oblique, sine, 1.0) for part in normal)
    zero = x * 0
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).view(-1, 3, 3)
    identity = torch.eye(3, dtype=torch.float64, device=vector.device)
    rotation = identity + sine[:, None, None] * skew + (1 - cosine)[:, None, None] * (skew @ skew)
    # A half turn about the next axis, for opposite directions.
    half = -identity + 2 * torch.outer(identity[one], identity[one])
    parallel = torch.where((exists & (cosine < 0))[:, None, None], half, identity)
    return torch.where(oblique[:, None, None], rotation, parallel)


def _by_clip(values: torch.Tensor) -> torch.Tensor:
    """Return values (N,) or (N, D) in a shape that applies to joints (N, S, T, V, D)."""
    return values.view(values.shape[0], 1, 1, 1, -1)

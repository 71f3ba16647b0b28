"""Which persons and joints of a clip the network sees, as tensor operations.

The NumPy functions of the same purpose are in `recognition.data`: `first_persons`, `follow_two`, `coco_to_h36m`. Here,
a joint that was not seen has score 0, and its position is any finite number.
"""

import torch

from recognition.data.transforms.joints import H36M_HEAD, H36M_PARENTS
from recognition.exporting.tensors import rows_at

Joints = tuple[torch.Tensor, torch.Tensor]


def choose_persons(keypoint: torch.Tensor, score: torch.Tensor, most: int) -> Joints:
    """Return the first persons with a joint that was seen, in `most` places; places that remain empty have score 0.

    Args:
        keypoint: float32 (N, M, T, V, D).
        score: float32 (N, M, T, V).
        most: Number of places S.

    Returns:
        (N, S, T, V, D) and (N, S, T, V).
    """
    present = (score > 0).flatten(2).any(dim=2)  # (N, M)
    rank = present.to(torch.int64).cumsum(dim=1) - 1
    places = torch.arange(most, device=score.device)[:, None]
    chosen = present[:, None] & (rank[:, None] == places)  # (N, S, M)
    index = (chosen.to(torch.int64) * torch.arange(score.shape[1], device=score.device)).sum(dim=2)
    held = chosen.any(dim=2)[..., None, None]
    return rows_at(keypoint, index), torch.where(held, rows_at(score, index), 0.0)


def follow_two(keypoint: torch.Tensor, score: torch.Tensor, tracked: torch.Tensor) -> Joints:
    """Restore the order of two persons whose slots were exchanged between frames, in clips with exactly two persons.

    Args:
        keypoint: float32 (N, S, T, V, D), S at least 2.
        score: float32 (N, S, T, V).
        tracked: bool (N,), True where each slot holds the same person in all frames.
    """
    first, pair = keypoint[:, 0], keypoint[:, :2]
    seen = score[:, :2] > 0
    # The first frame is compared with itself, and so keeps its order; a clip may have a single frame.
    before = (torch.arange(score.shape[2], device=score.device) - 1).clamp(min=0)
    distance = ((first[:, None] - pair[:, :, before]) ** 2).sum(dim=-1).sqrt()  # (N, 2, T, V)
    common = (seen[:, :1] & seen[:, :, before]).all(dim=1, keepdim=True)
    total = torch.where(common, distance, 0.0).sum(dim=-1)
    swapped = (total[:, 0] > total[:, 1]).to(torch.int64).cumsum(dim=1) % 2 > 0
    two = (score > 0).flatten(2).any(dim=2).sum(dim=1) == 2
    swapped = (swapped & (two & ~tracked)[:, None])[:, None, :, None]
    keypoint = torch.cat([torch.where(swapped[..., None], pair.flip(1), pair), keypoint[:, 2:]], dim=1)
    score = torch.cat([torch.where(swapped, score[:, :2].flip(1), score[:, :2]), score[:, 2:]], dim=1)
    return keypoint, score


def coco_to_h36m(keypoint: torch.Tensor, score: torch.Tensor) -> Joints:
    """Convert COCO-17 (N, S, T, 17, 2) to H36M-17, with scores (N, S, T, 17)."""
    parts, scores = [], []
    for parents in H36M_PARENTS:
        parts.append(keypoint[..., list(parents), :].mean(dim=-2))
        scores.append(score[..., list(parents)].amin(dim=-1))
    first, second = score[..., 1], score[..., 2]
    one_eye = (first > 0) != (second > 0)
    better = torch.where((first >= second)[..., None], keypoint[..., 1, :], keypoint[..., 2, :])
    parts[H36M_HEAD] = torch.where(one_eye[..., None], better, parts[H36M_HEAD])
    scores[H36M_HEAD] = torch.where(one_eye, torch.maximum(first, second), scores[H36M_HEAD])
    return torch.stack(parts, dim=-2), torch.stack(scores, dim=-1)

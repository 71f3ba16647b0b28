"""The IDF1 metric, and a baseline tracker."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from pose_extraction.oks import box_iou
from pose_extraction.poses import FramePoses


def idf1(truth: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> float:
    """IDF1 of found identities over detections (Ristani et al. 2016).

    Each true identity is matched with at most one found identity, so that the number of common detections, IDTP, is
    maximal; IDF1 = 2 IDTP / (true detections + found detections). The identity -1 means none: a spurious detection in
    `truth`, an ignored detection in `found`. Missing detections are not counted, because no tracker can find them.
    """
    true, ours = np.concatenate(truth), np.concatenate(found)
    both = (true >= 0) & (ours >= 0)
    _, rows = np.unique(true[both], return_inverse=True)
    _, columns = np.unique(ours[both], return_inverse=True)
    table = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(table, (rows, columns), 1)
    matched = table[linear_sum_assignment(-table)].sum()
    return float(2 * matched / ((true >= 0).sum() + (ours >= 0).sum()))


def nearest_box_ids(frames: Sequence[FramePoses], *, overlap: float = 0.2, patience: float = 1.5) -> list[np.ndarray]:
    """Identities by greedy matching of boxes with the last boxes of tracks, in descending order of IoU."""
    boxes: dict[int, np.ndarray] = {}
    seen: dict[int, float] = {}
    result, fresh = [], 0
    for frame in frames:
        names = [name for name in boxes if frame.time - seen[name] <= patience]
        ids = np.full(frame.num_persons, -1)
        if names and frame.num_persons:
            iou = box_iou(np.stack([boxes[name] for name in names]), frame.box)
            while iou.max() >= overlap:
                row, column = np.unravel_index(iou.argmax(), iou.shape)
                ids[column] = names[row]
                iou[row], iou[:, column] = -1, -1
        for person in range(frame.num_persons):
            if ids[person] < 0:
                ids[person], fresh = fresh, fresh + 1
            boxes[ids[person]], seen[ids[person]] = frame.box[person], frame.time
        result.append(ids)
    return result

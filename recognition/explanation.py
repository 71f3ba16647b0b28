"""How much each joint counted in an answer: the attention of the last block (eq. 2), by joint and frame of a clip.

The network sees a clip through the run's transforms: the first persons, some of the frames, perhaps other joints. Here
its attention is brought back to where it came from.
"""

from dataclasses import dataclass

import numpy as np
import torch

from pose_extraction.skeleton import COCO17, H36M17
from recognition.dataset import SkeletonDataset, collate, first_persons
from recognition.recognizer import Recognizer
from recognition.transforms import H36M_HEAD, H36M_PARENTS, sample_frames

# Head: the middle of the eyes, as `coco_to_h36m` makes it; belly: midway between root and neck.
_SHARES = np.zeros((H36M17.num_joints, COCO17.num_joints))
for _joint, _parents in enumerate(H36M_PARENTS):
    _SHARES[_joint, list(_parents)] = 1 / len(_parents)
assert H36M_PARENTS[H36M_HEAD] == (1, 2)


@dataclass(frozen=True)
class Explanation:
    """Attention that the joints of one clip received.

    Args:
        persons: int64 (P,), which of the clip's persons the network saw.
        attention: float32 (P, T, V) over all frames of the clip, in the joints of its file; NaN in persons or frames of
            whom nothing was seen. 1 is a joint that counted as much as the mean of its frame.
    """

    persons: np.ndarray
    attention: np.ndarray


def explain(recognizer: Recognizer, dataset: SkeletonDataset, position: int) -> Explanation:
    """The attention of the last block of one clip.

    A frame that the network did not see has the attention of the nearest one that it saw.

    Args:
        recognizer: In evaluation mode; runs on its own device in float32.
        dataset: Clips without random draws, of one layout with the recognizer.
        position: Of the clip in the data set.
    """
    clip = dataset.clips[int(dataset.indices[position])]
    batch = collate([dataset[position]])
    device = next(recognizer.parameters()).device
    with torch.inference_mode():
        encoded = recognizer.encode(batch.to(device), return_attention=True)
    assert encoded.attention is not None
    received = encoded.attention.float().cpu().numpy()  # (P, T', V')
    settings, length = dataset.settings, clip.score.shape[1]
    frames = sample_frames(length, received.shape[1])
    persons = _persons_seen(clip.score, frames, settings.max_persons)[: len(received)]
    attention = received[: len(persons), _nearest(frames, length)]  # (P, T, V')
    if dataset.layout.name != dataset.clips.layout.name:
        attention = to_coco(attention)
    # Attention differs in scale with the backbone; what is told is its share within a frame.
    attention = attention / np.maximum(attention.mean(axis=-1, keepdims=True), np.finfo(np.float32).tiny)
    there = (clip.score[persons] > 0).any(axis=-1)
    return Explanation(persons, np.where(there[..., None], attention, np.nan).astype(np.float32))


def to_coco(attention: np.ndarray) -> np.ndarray:
    """Attention (..., 17) on Human3.6M's joints, on the joints of COCO that they were made of, in equal shares."""
    return attention @ _SHARES


def _persons_seen(score: np.ndarray, frames: np.ndarray, most: int) -> np.ndarray:
    """The persons that `SkeletonDataset` keeps, of scores (M, T, V)."""
    there = first_persons(score, most)
    kept = there[(score[there][:, frames] > 0).any(axis=(1, 2))]
    return kept if len(kept) else there[:1]


def _nearest(frames: np.ndarray, length: int) -> np.ndarray:
    """Position in `frames`, rising, of the one nearest to each of 0 to `length` - 1; of two the earlier."""
    after = np.clip(np.searchsorted(frames, np.arange(length)), 0, len(frames) - 1)
    before = np.maximum(after - 1, 0)
    nearer = np.abs(frames[before] - np.arange(length)) <= np.abs(frames[after] - np.arange(length))
    return np.where(nearer, before, after)

"""Importance of each joint for a prediction: attention of the last block (eq. 2), per joint and frame of a clip.

The network sees a clip after the run's transforms: the first persons, a selection of frames, possibly another joint
layout. This module maps its attention back to the original clip.
"""

from dataclasses import dataclass

import numpy as np
import torch

from pose_extraction.skeleton import COCO17, H36M17
from recognition.data.batches import as_batch
from recognition.data.clip import Clip
from recognition.data.clip_transforms import ClipTransforms, first_persons
from recognition.data.transforms.joints import H36M_HEAD, H36M_PARENTS
from recognition.recognizer import Recognizer

# Head: the mean of the eyes, as in `coco_to_h36m`. Belly: the mean of root and neck.
_SHARES = np.zeros((H36M17.num_joints, COCO17.num_joints))
for _joint, _parents in enumerate(H36M_PARENTS):
    _SHARES[_joint, list(_parents)] = 1 / len(_parents)
assert H36M_PARENTS[H36M_HEAD] == (1, 2)


@dataclass(frozen=True)
class Explanation:
    """Attention that the joints of one clip received.

    Args:
        persons: int64 (P,), indices of the clip's persons that the network saw.
        attention: float32 (P, T, V), for all frames of the clip and the joints of its file. 1 is the mean over the
            joints of a frame; NaN where nothing of a person was seen in a frame.
    """

    persons: np.ndarray
    attention: np.ndarray


def explain(recognizer: Recognizer, clip: Clip, keypoint: np.ndarray, transforms: ClipTransforms) -> Explanation:
    """Return the attention of the last block for one clip.

    A frame that the network did not see gets the attention of the nearest frame that it saw.

    Args:
        recognizer: In evaluation mode; runs on its own device in float32.
        clip: The raw clip; joints that count as not seen are NaN with score 0.
        keypoint: float32 (M, T', V', 3), the same clip as network input, without random augmentation.
        transforms: The transforms between the two.
    """
    device = next(recognizer.parameters()).device
    batch = as_batch([keypoint])
    with torch.inference_mode():
        encoded = recognizer.encode(batch.to(device), return_attention=True)
    assert encoded.attention is not None
    received = encoded.attention.float().cpu().numpy()  # (P, T', V')
    frames = transforms.frames_of(clip)
    persons = _persons_seen(clip.score, frames, transforms.settings.max_persons)[: len(received)]
    attention = received[: len(persons), _nearest(frames, clip.num_frames)]  # (P, T, V')
    if transforms.converts:
        attention = to_coco(attention)
    # The scale of attention depends on the backbone, so it is reported relative to the mean of the frame.
    attention = attention / np.maximum(attention.mean(axis=-1, keepdims=True), np.finfo(np.float32).tiny)
    there = (clip.score[persons] > 0).any(axis=-1)
    return Explanation(persons, np.where(there[..., None], attention, np.nan).astype(np.float32))


def to_coco(attention: np.ndarray) -> np.ndarray:
    """Distribute attention (..., 17) on Human3.6M joints in equal parts over the COCO joints they are computed from."""
    return attention @ _SHARES


def _persons_seen(score: np.ndarray, frames: np.ndarray, most: int) -> np.ndarray:
    """Indices of the persons that `ClipTransforms` keeps, given scores (M, T, V)."""
    there = first_persons(score, most)
    kept = there[(score[there][:, frames] > 0).any(axis=(1, 2))]
    return kept if len(kept) else there[:1]


def _nearest(frames: np.ndarray, length: int) -> np.ndarray:
    """For each frame from 0 to `length` - 1, position of the nearest one in rising `frames`; the earlier if tied."""
    after = np.clip(np.searchsorted(frames, np.arange(length)), 0, len(frames) - 1)
    before = np.maximum(after - 1, 0)
    nearer = np.abs(frames[before] - np.arange(length)) <= np.abs(frames[after] - np.arange(length))
    return np.where(nearer, before, after)

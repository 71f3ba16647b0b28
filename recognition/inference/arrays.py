"""Clips in memory as the inputs of an exported recognizer. Loads no torch, because exported recognizers need none."""

from collections.abc import Sequence

import numpy as np

from recognition.data.clip import Clip


def arrays_of(clips: Sequence[Clip]) -> tuple[np.ndarray, ...]:
    """Return the inputs of an exported recognizer for N clips, padded to common numbers of persons and frames.

    Args:
        clips: Clips of one layout; joints that were not seen have score 0.
    """
    persons = max(len(clip.score) for clip in clips)
    frames = np.array([clip.num_frames for clip in clips], np.int32)
    joints, dimensions = clips[0].keypoint.shape[2:]
    keypoint = np.zeros((len(clips), persons, frames.max(), joints, dimensions), np.float32)
    score = np.zeros(keypoint.shape[:-1], np.float32)
    time = np.zeros((len(clips), frames.max()))
    for row, clip in enumerate(clips):
        own = slice(len(clip.score)), slice(clip.num_frames)
        keypoint[row][own], score[row][own] = clip.keypoint, clip.score
        time[row, : clip.num_frames] = clip.seconds
    size = np.array([clip.size or (1, 1) for clip in clips], np.int32)
    return keypoint, score, frames, size, time, np.array([clip.tracked for clip in clips])

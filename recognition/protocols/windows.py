"""Windows of long sequences as a set of clips, so that encoders can process them like clips."""

from collections.abc import Sequence

import numpy as np

from recognition.data.clips import ClipSet
from recognition.data.stored_joints import StoredJoints
from recognition.settings import DataSettings


def window_starts(num_frames: int, length: int, stride: int) -> list[int]:
    """Return the first frames of windows that cover a sequence; the last window ends with the sequence."""
    last = max(0, num_frames - length)
    return [*range(0, last, stride), last]


def window_clips(clips: ClipSet, windows: Sequence[tuple[int, int]], *, length: int, score_threshold: float) -> ClipSet:
    """Return windows of a set's clips as a set of clips.

    Args:
        clips: The sequences.
        windows: (index of the sequence, first frame) of each window.
        length: Frames per window; shorter sequences are padded with their last frame.
        score_threshold: A joint is seen if its score exceeds this, 0 to 1.
    """
    joints, annotations = [], []
    for index, start in windows:
        clip = clips[index]
        part = slice(start, start + length)
        short = max(0, length - clip.score.shape[1])
        edges = ((0, 0), (0, short), (0, 0))
        score = np.pad(clip.score[:, part], edges, mode="edge")
        keypoint = np.nan_to_num(np.pad(clip.keypoint[:, part], (*edges, (0, 0)), mode="edge"))
        joints.append(StoredJoints(keypoint, score))
        annotation = {"frame_dir": f"{clip.name}@{start}", "label": clip.label, "img_shape": clip.size}
        if clip.tracked:
            annotation["track_id"] = np.arange(len(keypoint))
        annotations.append(annotation)
    return ClipSet(
        clips.path,
        joints,
        annotations,
        {},
        clips.label_names,
        clips.layout,
        clips.dimensions,
        score_threshold,
        [],
    )


def window_settings(data: DataSettings, length: int) -> DataSettings:
    """Return data settings that show windows in full and without augmentation of their length."""
    return data.model_copy(
        update={"num_frames": length, "part_range_train": (1.0, 1.0), "part_test": 1.0, "resample": "linear"}
    )

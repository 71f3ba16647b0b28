"""Windows of long sequences as a set of clips, so that encoders can process them like clips."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recognition.data.clips import ClipSet
from recognition.data.dataset import SkeletonDataset
from recognition.data.sources.clip_table import UsableSource, table_of
from recognition.data.sources.stored_joints import StoredJoints
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
    source = UsableSource(
        table_of(annotations, joints, clips.dimensions),
        joints,
        {},
        clips.label_names,
        (clips.layout.num_joints, clips.dimensions),
        [],
    )
    return ClipSet(clips.path, source, clips.layout, score_threshold)


def window_settings(data: DataSettings, length: int) -> DataSettings:
    """Return data settings that show windows in full and without augmentation of their length."""
    return data.model_copy(
        update={"num_frames": length, "part_range_train": (1.0, 1.0), "part_test": 1.0, "resample": "linear"}
    )


@dataclass(frozen=True)
class SequenceWindows:
    """Windows of sequences as a data set.

    Args:
        dataset: The windows, as clips of one length.
        origins: (index of the sequence, first frame) of each window.
        length: T, frames per window.
    """

    dataset: SkeletonDataset
    origins: Sequence[tuple[int, int]]
    length: int

    @property
    def sequences(self) -> list[int]:
        """Indices of the sequences, each once."""
        return list(dict.fromkeys(index for index, _ in self.origins))

    def positions_of(self, sequence: int) -> list[int]:
        """Return the positions of a sequence's windows in the data set, in temporal order."""
        return [position for position, (index, _) in enumerate(self.origins) if index == sequence]

    def labels(self, of_sequences: Mapping[int, np.ndarray], *, background: int) -> np.ndarray:
        """Return the class of each frame of each window, int64 (W, T).

        Args:
            of_sequences: int64 (frames,), classes of the frames of each sequence, by its index.
            background: Class of the frames after the end of a sequence.
        """
        labels = np.full((len(self.origins), self.length), background, np.int64)
        for row, (index, start) in enumerate(self.origins):
            own = of_sequences[index][start : start + self.length]
            labels[row, : len(own)] = own
        return labels


def cut_windows(
    clips: ClipSet, indices: np.ndarray, data: DataSettings, *, stride: int, train: bool, seed: int
) -> SequenceWindows:
    """Cut sequences into windows that cover them.

    Args:
        clips: The sequences.
        indices: int64, indices of the sequences to cut.
        data: Data settings of windows, see `window_settings`.
        stride: Frames between the starts of a sequence's windows.
        train: Whether to augment the windows.
        seed: Seed of the augmentation.
    """
    length = int(data.num_frames)
    origins = [
        (int(index), start) for index in indices for start in window_starts(int(clips.lengths[index]), length, stride)
    ]
    windows = window_clips(clips, origins, length=length, score_threshold=data.score_threshold)
    dataset = SkeletonDataset(windows, np.arange(len(origins)), data, train=train, seed=seed)
    return SequenceWindows(dataset, origins, length)

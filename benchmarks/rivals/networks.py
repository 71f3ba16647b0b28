"""Networks as methods: trained with the functions behind `skelpipe train`, in this process and a temporary folder."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.bilstm import NUM_FRAMES, BiLSTM, BiLSTMSettings, bilstm_scores, fit_bilstm
from benchmarks.rivals.method import Fitted, Method
from benchmarks.rivals.motion import Annotation
from pipeline.train.settings import train_settings
from pose_extraction.formats.pickle_writing import write_pickle
from recognition.data.clips import open_clips
from recognition.data.dataset import SkeletonDataset
from recognition.inference.scores import scores_of
from recognition.inference.skeleton_clips import clips_for
from recognition.runs import Trained, load_run
from recognition.settings import DataSettings
from recognition.training.run import train

TRAIN, TEST = "train", "test"


@dataclass(frozen=True)
class Budget:
    """Length of the training of a network, the same for all of them.

    Args:
        epochs: Most epochs.
        presentations: Number of clips shown to the network, repetitions included, unless this means fewer than
            `least` epochs.
        least: Fewest epochs.
    """

    epochs: int = 60
    presentations: int = 15_000
    least: int = 12

    def epochs_for(self, clips: int) -> int:
        """Return the number of epochs, `least` to `epochs`.

        Args:
            clips: Number of training clips, at least 1.
        """
        return max(self.least, min(self.epochs, self.presentations // clips))


def write_file(
    path: Path, clips: Sequence[Annotation], labels: np.ndarray | None, names: Sequence[str], split: str
) -> Path:
    """Write clips as a skeleton file with one split.

    Args:
        path: The file.
        clips: N annotations. Their ids get their place in front, so that equal ones differ.
        labels: int (N,), class numbers from 0 to K - 1; None to leave all clips without a label.
        names: K class names.
        split: Name of the split with all clips.

    Returns:
        `path`.
    """
    numbers = np.full(len(clips), -1) if labels is None else labels
    annotations = [
        {
            **clip,
            "frame_dir": f"{place:06d}_{clip['frame_dir']}",
            "label": int(number),
            "label_name": names[number] if number >= 0 else None,
        }
        for place, (clip, number) in enumerate(zip(clips, numbers, strict=True))
    ]
    listed = [clip["frame_dir"] for clip in annotations]
    write_pickle(path, {"split": {split: listed}, "annotations": annotations, "label_names": list(names)})
    return path


class FittedNetwork(Fitted):
    """A trained run.

    Args:
        trained: The recognizer.
        folder: Folder for skeleton files, deleted with this object.
    """

    def __init__(self, trained: Trained, folder: "tempfile.TemporaryDirectory[str]") -> None:
        self.facts = {"epochs": trained.epoch, "unknown_threshold": trained.confidence.threshold}
        self._trained, self._folder = trained, folder
        self._answered: Sequence[Annotation] | None = None
        self._unknown = np.zeros(0)

    def probabilities(self, clips: Sequence[Annotation]) -> np.ndarray:
        file = write_file(Path(self._folder.name) / "test.pkl", clips, None, self._trained.label_names, TEST)
        opened = clips_for(self._trained, file)
        dataset = SkeletonDataset(opened, np.arange(len(opened)), self._trained.settings.data, train=False)
        scores = scores_of(self._trained, dataset)
        self._answered, self._unknown = clips, scores.unknown
        return scores.probabilities

    def unknown(self, clips: Sequence[Annotation], probabilities: np.ndarray) -> np.ndarray:
        if self._answered is not clips:
            self.probabilities(clips)
        return self._unknown


class Network(Method):
    """A run of `skelpipe train`.

    Args:
        words: A config and settings, as on the command line.
        phases: Phases among which the epochs of the budget are divided; none: the config chooses the epochs.
        which: Weights that are tested.
        budget: Length of the training.
    """

    def __init__(
        self,
        words: Sequence[str] = (),
        *,
        phases: Sequence[Literal["phase1", "phase2"]] = (),
        which: Literal["best", "last"] = "best",
        budget: Budget | None = None,
    ) -> None:
        self._words, self._phases, self._which, self._budget = list(words), phases, which, budget or Budget()

    def fit(self, clips: Sequence[Annotation], labels: np.ndarray, names: Sequence[str], seed: int) -> Fitted:
        folder = tempfile.TemporaryDirectory(prefix="real_sets_")
        file = write_file(Path(folder.name) / "train.pkl", clips, labels, names, TRAIN)
        options = {
            "data.file": str(file),
            "out": str(Path(folder.name) / "run"),
            "training.seed": seed,
            **self._epochs(len(clips)),
        }
        run = train(train_settings(self._words, options))
        return FittedNetwork(load_run(run, self._which), folder)

    def _epochs(self, clips: int) -> Mapping[str, Any]:
        if not self._phases:
            return {}
        each, rest = divmod(self._budget.epochs_for(clips), len(self._phases))
        epochs = {f"training.{name}_epochs": 0 for name in ("phase1", "phase2")}
        epochs |= {f"training.{name}_epochs": each for name in self._phases}
        epochs[f"training.{self._phases[-1]}_epochs"] += rest
        return epochs


class FittedBiLSTM(Fitted):
    """A trained BiLSTM.

    Args:
        model: The network.
        data: Settings of its input.
        names: Class names.
        folder: Folder for skeleton files, deleted with this object.
        epochs: Number of epochs of the training.
    """

    def __init__(
        self,
        model: BiLSTM,
        data: DataSettings,
        names: Sequence[str],
        folder: "tempfile.TemporaryDirectory[str]",
        epochs: int,
    ) -> None:
        self.facts = {"epochs": epochs}
        self._model, self._data, self._names, self._folder = model, data, names, folder

    def probabilities(self, clips: Sequence[Annotation]) -> np.ndarray:
        file = write_file(Path(self._folder.name) / "test.pkl", clips, None, self._names, TEST)
        opened = open_clips(file, self._data)
        return bilstm_scores(self._model, SkeletonDataset(opened, np.arange(len(opened)), self._data, train=False))


class Recurrent(Method):
    """The BiLSTM of `benchmarks/bilstm.py`, without a search for its settings, which needs many held-out clips.

    Args:
        budget: Length of the training.
    """

    def __init__(self, budget: Budget | None = None) -> None:
        self._budget = budget or Budget()

    def fit(self, clips: Sequence[Annotation], labels: np.ndarray, names: Sequence[str], seed: int) -> Fitted:
        folder = tempfile.TemporaryDirectory(prefix="real_sets_")
        file = write_file(Path(folder.name) / "train.pkl", clips, labels, names, TRAIN)
        data = train_settings(["small"], {"data.file": str(file)}).data
        data = data.model_copy(update={"num_frames": NUM_FRAMES, "max_frames": NUM_FRAMES})
        opened = open_clips(file, data)
        every = np.arange(len(opened))
        epochs = self._budget.epochs_for(len(clips))
        model, _ = fit_bilstm(
            SkeletonDataset(opened, every, data, train=True, seed=seed),
            # The last epoch is used, so what is held out chooses nothing.
            SkeletonDataset(opened, every[:1], data, train=False),
            BiLSTMSettings(epochs=epochs),
            num_classes=len(names),
            seed=seed,
            keep="last",
        )
        return FittedBiLSTM(model, data, names, folder, epochs)

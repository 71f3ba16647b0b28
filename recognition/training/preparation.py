"""Preparation of a training: opens the clips, splits them, and resolves settings that depend on data or machine."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from pose_extraction.engines.engine import resolve_training_engine
from pose_extraction.errors import UsageError
from recognition.backbones import baselines, gru
from recognition.data.clip_transforms import check_placement, flip_probability, layout_of_model
from recognition.data.clips import ClipSet, open_clips
from recognition.data.data_notes import check_classes, notes_on_classes, notes_on_splits
from recognition.data.skeleton_file import skeleton_file_of
from recognition.data.splits import hold_out, training_indices
from recognition.engine.machine import CHANNELS, RUNS
from recognition.settings import DataSettings, ModelSettings, RunSettings
from recognition.training.initialising import fitting_settings, settings_of

# Model for "auto": small enough to learn from hundreds of clips, and to train on a CPU in minutes.
SMALL = {"dim": 64, "depth": 2, "heads": 4, "dim_representation": 64, "hidden": 256, "motion": True}
# Learning rate of a backbone with the paper's width, and that width.
PAPER_LR, PAPER_DIM = 1e-4, 512
# Number of training clips from which the paper's model is chosen on a GPU.
CLIPS_FOR_PAPER_SIZE = 5000


@dataclass(frozen=True)
class Prepared:
    """Data and resolved settings of a run before its first step.

    Args:
        settings: Resolved settings, except for numbers of epochs, which may still be "auto".
        clips: The skeleton file.
        training: int (N,), indices of the training clips.
        held_out: int (H,), indices of the clips that select the best epoch.
        layout: Name of the joint layout that the network sees.
        num_joints: V of that layout.
        channels: C of the network's input.
        left_out: Clips of the file that are not used, one sentence each.
        notes: Notes for the user, one sentence each.
    """

    settings: RunSettings
    clips: ClipSet
    training: np.ndarray
    held_out: np.ndarray
    layout: str
    num_joints: int
    channels: int
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        return len(self.clips.label_names)

    @cached_property
    def content_digest(self) -> str:
        """SHA-256 of the skeleton file's content."""
        return self.clips.content_digest()

    def class_weights(self) -> torch.Tensor:
        """Return float32 (K,), weights inverse to the number of training clips per class; mean 1 over the clips."""
        labels = torch.as_tensor(self.clips.labels[self.training])
        counts = torch.bincount(labels, minlength=self.num_classes)
        present = counts > 0
        weights = torch.zeros(self.num_classes)
        weights[present] = len(labels) / (present.sum() * counts[present])
        return weights

    def at(self, folder: Path) -> "Prepared":
        """Return the same run in another directory."""
        return replace(self, settings=self.settings.model_copy(update={"out": str(folder)}))

    def with_epochs(self, phase1: int, phase2: int) -> "Prepared":
        """Return the same run with the given number of epochs per phase."""
        training = self.settings.training.model_copy(update={"phase1_epochs": phase1, "phase2_epochs": phase2})
        return replace(self, settings=self.settings.model_copy(update={"training": training}))

    def split(self) -> dict[str, list[str]]:
        """Return the names of training and held-out clips, and sentences about those left out."""
        parts = {"training": self.training, "held_out": self.held_out}
        names = {name: [self.clips.names[index] for index in indices] for name, indices in parts.items()}
        return names | {"left_out": list(self.left_out)}


def prepare(settings: RunSettings, *, begun: RunSettings | None = None) -> Prepared:
    """Open and split the skeleton file, and resolve the settings that depend on the data and the machine.

    Args:
        settings: Settings given by the user.
        begun: Resolved settings of the run to resume; None for a new run. When resuming, the initial weights are not
            opened again and need not exist any more.

    Raises:
        UsageError: Settings contradict each other or the file.
        AnnotationError: The file is malformed.
        BackendError: The device does not exist on this machine.
    """
    data, training = settings.data, settings.training
    check_together(settings)
    fitting: ModelSettings | None = None
    notes: list[str] = []
    if begun is not None:
        settings = settings.model_copy(update={"init": begun.init})
    if settings.init is not None:
        fitting, layout_name, reading = fitting_settings(settings.init) if begun is None else settings_of(begun)
        data = data.model_copy(
            update={name: value for name, value in reading.items() if name not in data.model_fields_set}
        )
        if data.model_layout == "auto":
            data = data.model_copy(update={"model_layout": layout_name})
        elif data.model_layout != layout_name:
            notes.append(
                f"{settings.init}: was trained on {layout_name}, but data.model_layout={data.model_layout} feeds it "
                "other joints; omit data.model_layout"
            )
    path = skeleton_file_of(data)
    clips = open_clips(path, data)
    check_classes(clips)
    chosen, held_out = hold_out(clips, training_indices(clips, data), data, training.seed)
    # Without a threshold, clips without persons were found on opening. Reading all joints again would take minutes.
    looked_at = (*chosen, *held_out) if data.score_threshold > 0 else ()
    empty = {int(index) for index in looked_at if not (clips[int(index)].score > 0).any()}
    reasons = [
        f"{path}: no joint of clip {clips.names[index]!r} has a score above data.score_threshold={data.score_threshold}"
        for index in sorted(empty)
    ]
    if reasons and not data.skip_bad:
        raise UsageError(f"{reasons[0]}; lower it, or leave such clips out with --skip-bad")
    chosen, held_out = (indices[~np.isin(indices, list(empty))] for indices in (chosen, held_out))
    left_out = (*clips.skipped, *reasons)
    if left_out:
        notes.append(f"{len(left_out)} clips are left out (data.skip_bad); the first: {left_out[0]}")
    notes += notes_on_splits(clips, data, chosen)
    notes += notes_on_classes(clips, chosen)
    if len(chosen) < 2:
        raise UsageError(f"{path}: {len(chosen)} clips are left to train on, but at least 2 are required")
    if training.early_stopping is not None and not len(held_out):
        raise UsageError("training.early_stopping requires a held-out part; set data.holdout or data.holdout_split")
    engine = resolve_training_engine(training.device, training.precision)
    model = choose_model(settings.model, fitting, clips=len(chosen), cuda=not engine.on_cpu)
    check_lengths(data, model)
    if training.layer_decay < 1 and model.backbone != "segments":
        raise UsageError(
            f"training.layer_decay={training.layer_decay} requires model.backbone=segments, but the backbone is "
            f"{model.backbone}; omit it"
        )
    rate = PAPER_LR * PAPER_DIM / (model.dim or PAPER_DIM)
    choices = {
        "device": engine.device,
        "precision": engine.precision,
        "backbone_lr": rate if training.backbone_lr == "auto" else training.backbone_lr,
    }
    try:
        layout = layout_of_model(clips, data)
    except UsageError as error:
        if settings.init is None or settings.data.model_layout != "auto":
            raise
        raise UsageError(
            f"{settings.init}: was trained on {data.model_layout}, which cannot be derived from the joints of {path}, "
            f"{clips.layout.name} in {clips.dimensions}D; start from other weights, or without --init"
        ) from error
    check_placement(clips, data)
    flip_probability(data, layout)
    gru.check_recurrent(model, data, training.objective)
    baselines.check_baseline(settings, layout=layout.name, dimensions=clips.dimensions)
    folder = data.keypoint_files
    resolved = settings.model_copy(
        update={
            "out": str(RUNS / f"{path.stem}-{model.backbone}") if settings.out == "auto" else settings.out,
            "init": _whole(settings.init) if begun is None else begun.init,
            "data": data.model_copy(
                update={
                    "file": str(path.resolve()),
                    "keypoint_files": _whole(folder),
                    "model_layout": layout.name,
                }
            ),
            "model": model,
            "training": training.model_copy(update=choices),
        }
    )
    return Prepared(
        settings=resolved,
        clips=clips,
        training=chosen,
        held_out=held_out,
        layout=layout.name,
        num_joints=layout.num_joints,
        channels=CHANNELS,
        left_out=left_out,
        notes=tuple(notes),
    )


def _whole(path: str | None) -> str | None:
    """Return the absolute path."""
    return str(Path(path).resolve()) if path is not None else None


def choose_model(wanted: ModelSettings, fitting: ModelSettings | None, *, clips: int, cuda: bool) -> ModelSettings:
    """Resolve the model settings; explicit settings are kept.

    Args:
        wanted: Model settings of the run.
        fitting: Model settings that the initial weights require; None without initial weights.
        clips: Number of training clips.
        cuda: Whether the run uses a GPU.
    """
    given = {name: getattr(wanted, name) for name in wanted.model_fields_set}
    given = {name: value for name, value in given.items() if value is not None and name not in ("size", "unseen")}
    unseen = wanted.unseen if wanted.unseen != "auto" else fitting.unseen if fitting else "mask_token"
    if wanted.size == "auto" and fitting is not None:
        return fitting.model_copy(update=given | {"unseen": unseen})
    size = wanted.size
    if size == "auto":
        size = "paper" if cuda and clips >= CLIPS_FOR_PAPER_SIZE else "small"
    sizes = dict(SMALL) if size == "small" else {}
    if wanted.backbone == "sttformer":
        # Its representation has the width of the last block.
        sizes.pop("dim_representation", None)
    if wanted.backbone == "segments":
        # A segment already contains the previous frames.
        sizes.pop("motion", None)
    if wanted.backbone in baselines.NAMES and size == "small":
        sizes = dict(baselines.SMALL[wanted.backbone])
    if wanted.backbone == gru.NAME and size == "small":
        sizes = dict(gru.SMALL)
    return wanted.model_copy(update=sizes | given | {"size": size, "unseen": unseen})


def check_lengths(data: DataSettings, model: ModelSettings) -> None:
    """Refuse clips that are longer than the network's temporal embedding.

    Raises:
        UsageError: The clips are longer.
    """
    longest = data.max_frames if data.num_frames == "own" else data.num_frames
    if longest > model.max_frames:
        raise UsageError(
            f"clips have up to {longest} frames (data.num_frames, data.max_frames), but the network's temporal "
            f"embedding has {model.max_frames}; set model.max_frames={longest}"
        )


def check_together(settings: RunSettings) -> None:
    """Refuse settings that contradict each other.

    Raises:
        UsageError: Two settings contradict each other; the message names both.
    """
    training = settings.training
    if training.batch_size % training.accumulate:
        raise UsageError(
            f"training.batch_size {training.batch_size} cannot be divided into training.accumulate "
            f"{training.accumulate} equal micro-batches"
        )
    if training.phase1_epochs == 0 and training.phase2_epochs == 0:
        raise UsageError("training.phase1_epochs and training.phase2_epochs are both 0, so there is nothing to train")
    phases = (training.phase1_epochs, training.phase2_epochs)
    epochs = sum(number for number in phases if number != "auto")
    if "auto" not in phases and training.warmup_epochs > epochs:
        raise UsageError(
            f"training.warmup_epochs {training.warmup_epochs} exceeds the total of {epochs} epochs, so the full "
            "learning rate is never reached; decrease it"
        )

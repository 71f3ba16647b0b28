"""Preparation of a training: opens the clips, splits them, and resolves settings that depend on data or machine."""

from dataclasses import dataclass

import numpy as np
import torch

from pose_extraction.engines.engine import resolve_training_engine
from pose_extraction.errors import UsageError, counted
from pose_extraction.skeleton import COCO17, Skeleton
from recognition import run_names
from recognition.backbones import baselines, gru
from recognition.data.clip_transforms import layout_of_model
from recognition.data.clips import ClipSet, open_clips
from recognition.data.data_notes import (
    check_classes,
    notes_on_classes,
    notes_on_labels,
    notes_on_splits,
    notes_on_test_clips,
)
from recognition.data.skeleton_file import skeleton_file_of
from recognition.data.splits import hold_out, training_indices
from recognition.engine.prepared_run import (
    PreparedRun,
    check_accumulation,
    check_transforms,
    resolve,
)
from recognition.packed import BASE, shipped
from recognition.settings import AUTO, DataSettings, ModelSettings, RunSettings, TrainingSettings
from recognition.training.initialising import WeightsSettings, settings_of_run, settings_of_weights
from recognition.training.model_choice import check_model, choose_model, fits_base, with_relative_inputs

# Learning rate of a backbone with the paper's width, and that width.
PAPER_LR, PAPER_DIM = 1e-4, 512
# Learning rate of small segments: they are trained for few epochs.
SEGMENTS_LR = 1.5e-3


class Prepared(PreparedRun[RunSettings]):
    """Data and settings of a training; numbers of epochs may still be "auto"."""

    @property
    def num_classes(self) -> int:
        return len(self.clips.label_names)

    def class_weights(self) -> torch.Tensor:
        """Return float32 (K,), weights inverse to the number of training clips per class; mean 1 over the clips."""
        labels = torch.as_tensor(self.clips.labels[self.training])
        counts = torch.bincount(labels, minlength=self.num_classes)
        present = counts > 0
        weights = torch.zeros(self.num_classes)
        weights[present] = len(labels) / (present.sum() * counts[present])
        return weights

    def with_epochs(self, phase1: int, phase2: int) -> "Prepared":
        """Return the same run with the given number of epochs per phase."""
        training = self.settings.training.model_copy(update={"phase1_epochs": phase1, "phase2_epochs": phase2})
        return self.with_settings(self.settings.model_copy(update={"training": training}))


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
    check_together(settings)
    if begun is not None:
        settings = settings.model_copy(update={"init": begun.init})
    automatic = settings.init == AUTO
    if automatic:
        settings = settings.model_copy(update={"init": None})
    weights = _settings_of_weights(settings.init, begun)
    data, notes = _data_for(settings, weights)
    if begun is not None and data.flip == AUTO:
        data = data.model_copy(update={"flip": begun.data.flip})
    clips = open_clips(skeleton_file_of(data), data)
    check_classes(clips)
    parts = _parts_of(clips, data, settings.training)
    notes += [*parts.notes(), *notes_on_splits(clips, data, parts.training), *notes_on_classes(clips, parts.training)]
    notes += notes_on_labels(clips, data, parts.training, parts.held_out)
    notes += notes_on_test_clips(clips, data, parts.training)
    parts.check(settings.training)
    engine = resolve_training_engine(settings.training.device, settings.training.precision)
    fitting = weights.model if weights is not None else None
    model = choose_model(settings.model, fitting, clips=len(parts.training), cuda=not engine.on_cpu)
    check_model(model, data, settings.training)
    layout = _layout_of(clips, data, settings)
    model = with_relative_inputs(model, layout, clips.dimensions)
    check_transforms(clips, data, layout)
    if automatic and fits_base(model, data) and shipped(BASE) is not None:
        settings = settings.model_copy(update={"init": BASE})
    data = data.model_copy(update={"descriptors": _uses_descriptors(data, clips, layout)})
    if settings.training.keep_descriptors and not data.descriptors:
        raise UsageError(
            f"training.keep_descriptors keeps the descriptors of {settings.init}, but this run has none "
            f"(data.descriptors is {settings.data.descriptors}, joints {layout.name} in {clips.dimensions}D); omit it"
        )
    gru.check_recurrent(model, data, settings.training.objective)
    baselines.check_baseline(settings, layout=layout.name, dimensions=clips.dimensions)
    resolved = resolve(
        settings.model_copy(update={"data": data}),
        clips=clips,
        layout=layout,
        engine=engine,
        name=model.backbone,
        training={"backbone_lr": _backbone_lr(settings.training, model)},
        init=run_names.recorded(settings.init) if settings.init is not None else None,
        model=model,
    )
    return Prepared(
        settings=resolved,
        clips=clips,
        training=parts.training,
        held_out=parts.held_out,
        layout=layout,
        left_out=parts.left_out,
        notes=tuple(notes),
    )


def _settings_of_weights(init: str | None, begun: RunSettings | None) -> WeightsSettings | None:
    if init is None:
        return None
    return settings_of_weights(init) if begun is None else settings_of_run(begun)


def _data_for(settings: RunSettings, weights: WeightsSettings | None) -> tuple[DataSettings, list[str]]:
    """Return the data settings as the weights require them, except for explicit ones, and notes about these."""
    data = settings.data
    if weights is None:
        return data, []
    given = data.model_fields_set
    data = data.model_copy(update={name: value for name, value in weights.data.items() if name not in given})
    if data.model_layout == "auto":
        return data.model_copy(update={"model_layout": weights.layout}), []
    if data.model_layout == weights.layout:
        return data, []
    return data, [
        f"{settings.init}: was trained on {weights.layout}, but data.model_layout={data.model_layout} feeds it other "
        "joints; omit data.model_layout"
    ]


@dataclass(frozen=True)
class _Parts:
    """Clips for training and for choosing the best epoch, by index; sentences about the others."""

    clips: ClipSet
    training: np.ndarray
    held_out: np.ndarray
    left_out: tuple[str, ...]

    def notes(self) -> list[str]:
        if not self.left_out:
            return []
        return [f"left out {counted(len(self.left_out), 'clip')} (data.skip_bad); the first: {self.left_out[0]}"]

    def check(self, training: TrainingSettings) -> None:
        """Refuse parts that are too small.

        Raises:
            UsageError: Fewer than two clips remain, or early stopping has no held-out part.
        """
        count = len(self.training)
        if count < 2:
            raise UsageError(
                f"{self.clips.path}: {counted(count, 'clip is', 'clips are')} left to train on, but at least 2 are "
                "required"
            )
        if training.early_stopping is not None and not len(self.held_out):
            raise UsageError("training.early_stopping requires a held-out part; set data.holdout or data.holdout_split")


def _parts_of(clips: ClipSet, data: DataSettings, training: TrainingSettings) -> _Parts:
    """Choose the clips for training and those to hold out.

    Raises:
        UsageError: A split does not exist, or a clip has no joint above the score threshold.
    """
    chosen, held_out = hold_out(clips, training_indices(clips, data), data, training.seed)
    # Without a threshold, clips without persons were found on opening. Reading all joints again would take minutes.
    looked_at = (*chosen, *held_out) if data.score_threshold > 0 else ()
    empty = sorted({int(index) for index in looked_at if not (clips[int(index)].score > 0).any()})
    reasons = [
        f"{clips.path}: no joint of clip {clips.names[index]!r} has a score above "
        f"data.score_threshold={data.score_threshold}"
        for index in empty
    ]
    if reasons and not data.skip_bad:
        raise UsageError(f"{reasons[0]}; lower it, or leave such clips out with --skip-bad")
    chosen, held_out = (indices[~np.isin(indices, empty)] for indices in (chosen, held_out))
    return _Parts(clips, chosen, held_out, (*clips.skipped, *reasons))


def _layout_of(clips: ClipSet, data: DataSettings, settings: RunSettings) -> Skeleton:
    """Return the joint layout that the network sees.

    Raises:
        UsageError: The file's joints cannot be converted to it; the message names the weights, if they require it.
    """
    try:
        return layout_of_model(clips, data)
    except UsageError as error:
        if settings.init is None or settings.data.model_layout != "auto":
            raise
        raise UsageError(
            f"{settings.init}: was trained on {data.model_layout}, which cannot be derived from the joints of "
            f"{clips.path}, {clips.layout.name} in {clips.dimensions}D; start from other weights, or without --init"
        ) from error


def _uses_descriptors(data: DataSettings, clips: ClipSet, layout: Skeleton) -> bool:
    """Return whether movement is described.

    Raises:
        UsageError: It is required, but not defined for these joints.
    """
    possible = clips.dimensions == 2 and layout.name == COCO17.name and not data.legacy
    if data.descriptors is True and not possible:
        raise UsageError(
            f"data.descriptors=true requires {COCO17.name} in 2D, but the network sees {layout.name} of "
            f"{clips.path} in {clips.dimensions}D; set data.descriptors=auto"
        )
    return possible and bool(data.descriptors)


def _backbone_lr(training: TrainingSettings, model: ModelSettings) -> float:
    if training.backbone_lr != "auto":
        return training.backbone_lr
    if model.backbone == "segments" and model.size == "small":
        return SEGMENTS_LR
    return PAPER_LR * PAPER_DIM / (model.dim or PAPER_DIM)


def check_together(settings: RunSettings) -> None:
    """Refuse settings that contradict each other.

    Raises:
        UsageError: Two settings contradict each other; the message names both.
    """
    training = settings.training
    check_accumulation(training)
    if training.keep_descriptors and settings.init is None:
        raise UsageError(
            "training.keep_descriptors keeps the descriptors of an initial run, but there is none; specify it with "
            "--init, or omit the setting"
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

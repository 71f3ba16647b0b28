"""Runs a complete pre-training: run directories, processes, and resuming."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from pose_extraction.errors import SkelpipeError, UsageError
from recognition import runs
from recognition.engine.memory import out_of_memory_told
from recognition.engine.processes import launch
from recognition.engine.same_run import dotted, refuse_changed
from recognition.engine.training_run import TrainingRun
from recognition.pretraining.encoder_training import EncoderTraining
from recognition.pretraining.preparation import Pretraining, prepare_pretraining
from recognition.pretraining.settings import PretrainSettings

# Settings that may differ on resuming: they affect location and speed, but not the result, up to rounding.
_FREE = frozenset(
    (
        "out",
        "data.file",
        "data.keypoint_files",
        "data.workers",
        "training.device",
        "training.devices",
        "training.nodes",
        "training.keep_epochs",
        "training.precision",
        "training.checkpoint_minutes",
    )
)


def pretrain(
    settings: PretrainSettings, *, resume: Path | None = None, show: bool = False, stop_after: int | None = None
) -> Path:
    """Pre-train an encoder, or resume a pre-training.

    Args:
        settings: Complete settings; "auto" is resolved.
        resume: Run directory to resume; `settings` must be those of the run, except for the ones that may change.
        show: Whether to show progress on standard error.
        stop_after: Number of epochs after which to stop, as if interrupted; None to run to the end.

    Returns:
        The run directory.

    Raises:
        UsageError: Settings are incompatible, or the run directory is already in use.
        AnnotationError: The skeleton file is malformed.
        TrainingError: The loss is no longer finite, or memory is exhausted.
        TrainingStopped: A signal was received; the run was saved.
    """
    prepared = prepare_pretraining(settings)
    folder = resume or Path(prepared.settings.out)
    prepared = prepared.at(folder)
    if resume is None:
        runs.refuse_begun(folder)
    launch(
        _pretrain,
        prepared.settings.training,
        prepared=prepared,
        settings=prepared.settings,
        resume=resume is not None,
        show=show,
        stop_after=stop_after,
    )
    return folder


def check_same_pretraining(checkpoint: dict[str, Any], prepared: Pretraining, *, run: str) -> None:
    """Check that a run can be resumed with these clips and settings.

    Args:
        checkpoint: Content of the run's last checkpoint.
        prepared: Prepared pre-training.
        run: Run directory, for the message.

    Raises:
        UsageError: The clips or settings differ, or the run is from an incompatible version; the message names the
            difference.
    """
    if "method" not in checkpoint:
        raise UsageError(f"{run}: is a run of `skelpipe train`; resume it with `skelpipe train --resume {run}`")
    if checkpoint["content_digest"] != prepared.content_digest:
        raise UsageError(
            f"{run}: was trained on clips other than those of {prepared.settings.data.file}; resume with the same "
            "file, or start a new run"
        )
    before = dotted(PretrainSettings.model_validate(checkpoint["settings"]).model_dump(mode="json"))
    refuse_changed(before, dotted(prepared.settings.model_dump(mode="json")), _FREE, run=run)
    with torch.device("meta"):
        own = prepared.build_objective().state_dict()
    sizes = {name: tensor.shape for name, tensor in checkpoint["model"].items()}
    # best.pt of a finished run contains only the encoder.
    other = [name for name, tensor in own.items() if sizes.get(name, tensor.shape) != tensor.shape]
    if other:
        raise UsageError(
            f"{run}: was started by another version of skelpipe, with a different size of {other[0]}; start a new run"
        )


def _pretrain(
    fabric: Fabric,
    *,
    settings: PretrainSettings,
    prepared: Pretraining | None,
    resume: bool,
    show: bool,
    stop_after: int | None,
) -> SkelpipeError | None:
    """Run one process. Errors common to all processes are returned as values, which can be passed between processes."""
    prepared = replace(prepared or prepare_pretraining(settings), settings=settings)
    folder = Path(settings.out)
    checkpoint = runs.load(runs.run_file(folder, "last")) if resume else None
    clips = prepared.clips
    identity = runs.identity_of(
        settings,
        label_names=(),
        layout=prepared.layout.name,
        num_joints=prepared.layout.num_joints,
        channels=3,
        dimensions=clips.dimensions,
        estimator=clips.estimator,
        extraction=clips.extraction,
    ) | {"content_digest": prepared.content_digest, "method": settings.method}
    if checkpoint is not None:
        check_same_pretraining(checkpoint, prepared, run=str(folder))
    elif fabric.is_global_zero:
        runs.begin_run(
            folder,
            settings,
            label_names=(),
            split={
                "training": [clips.names[index] for index in prepared.training],
                "held_out": [],
                "left_out": clips.skipped,
            },
            about={"data": settings.data.file, **{name: identity[name] for name in _TOLD}},
        )
    training = TrainingRun(
        fabric,
        EncoderTraining(prepared, rank=fabric.global_rank, world_size=fabric.world_size),
        settings.training,
        folder,
        checkpoint,
        identity=identity,
        workers=settings.data.workers,
        notes=prepared.notes,
        show=show and fabric.is_global_zero,
    )
    parts = 2 * settings.training.accumulate
    try:
        with out_of_memory_told(
            f"{folder}: memory is exhausted with batches of {settings.training.batch_size} clips; start again with "
            f"training.accumulate={parts}, which splits each step into {parts} parts, or with a smaller --batch-size"
        ):
            return training.run(stop_after)
    finally:
        training.close()


_TOLD = ("method", "layout", "num_joints", "dimensions", "estimator", "version", "commit", "content_digest")

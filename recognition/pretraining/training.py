"""Pre-training from beginning to end: run directories, processes, and going on with a run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from pose_extraction.errors import SkelpipeError, UsageError
from recognition import runs
from recognition.pretraining.preparation import Pretraining, prepare_pretraining
from recognition.pretraining.settings import PretrainSettings
from recognition.pretraining.training_loop import PretrainingRun
from recognition.processes import launch
from recognition.resuming import dotted, refuse_changed
from recognition.sizing import out_of_memory_told

# Where and how fast, but not what is computed, up to rounding.
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
    """Pre-trains an encoder, or goes on with one.

    Args:
        settings: All of them; "auto" is resolved here.
        resume: Run directory to go on with; `settings` must be the run's own, but for what may change.
        show: Whether progress is told on standard error.
        stop_after: Epochs after which to stop, as if killed there; None for all.

    Returns:
        The run directory.

    Raises:
        UsageError: Settings do not go together, or a run is in the way.
        AnnotationError: The skeleton file is malformed.
        TrainingError: The loss is not a number any more, or memory ran out.
        TrainingStopped: A signal came; the run was saved.
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
    """Refuses to go on with other clips, or with settings that would make it another run.

    Raises:
        UsageError: Something differs, or an earlier version's network did; the message names it.
    """
    if "method" not in checkpoint:
        raise UsageError(f"{run}: is a run of `skelpipe train`, which goes on with `skelpipe train --resume {run}`")
    if checkpoint["content_digest"] != prepared.content_digest:
        raise UsageError(
            f"{run}: was trained on other clips than those of {prepared.settings.data.file}; resume it with the same "
            "file, or begin a new run"
        )
    before = dotted(PretrainSettings.model_validate(checkpoint["settings"]).model_dump(mode="json"))
    refuse_changed(before, dotted(prepared.settings.model_dump(mode="json")), _FREE, run=run)
    with torch.device("meta"):
        own = prepared.build_objective().state_dict()
    sizes = {name: tensor.shape for name, tensor in checkpoint["model"].items()}
    # A finished run's best.pt holds the encoder alone.
    other = [name for name, tensor in own.items() if sizes.get(name, tensor.shape) != tensor.shape]
    if other:
        raise UsageError(
            f"{run}: was begun by another version of skelpipe, whose {other[0]} was of another size; begin a new run"
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
    """One process of a run. What stops all of them alike comes back as a value, which passes between processes."""
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
    training = PretrainingRun(fabric, prepared, checkpoint, identity=identity, show=show and fabric.is_global_zero)
    parts = 2 * settings.training.accumulate
    try:
        with out_of_memory_told(
            f"{folder}: memory ran out with batches of {settings.training.batch_size} clips; begin again with "
            f"training.accumulate={parts}, which makes a step of {parts} parts, or with a smaller --batch-size"
        ):
            return training.run(stop_after)
    finally:
        training.close()


_TOLD = ("method", "layout", "num_joints", "dimensions", "estimator", "version", "commit", "content_digest")

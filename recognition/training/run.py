"""Training of a recognizer: cross-entropy only in phase one, both pathways in phase two (section 3.5).

Lightning Fabric lets the same loop run on a CPU, on a GPU, or on many GPUs that share each batch. A run that is stopped
at any step and resumed yields the same losses and weights as an uninterrupted run.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from pose_extraction.errors import SkelpipeError
from recognition import runs
from recognition.engine.memory import out_of_memory_told
from recognition.engine.processes import launch
from recognition.engine.training_run import TrainingRun, TrainingStopped
from recognition.settings import RunSettings
from recognition.training.preparation import Prepared, prepare
from recognition.training.recognizer_training import RecognizerTraining
from recognition.training.resuming import check_same_run, settings_before
from recognition.training.sizing import choose_epochs, measure_cost, size_of

__all__ = ["TrainingStopped", "train"]


def train(
    settings: RunSettings, *, resume: Path | None = None, show: bool = False, stop_after: int | None = None
) -> Path:
    """Train a recognizer, or resume a training.

    Args:
        settings: Settings of the run; "auto" values are resolved here.
        resume: Run directory to resume. `settings` must equal those of the run, except for those that may change.
        show: Whether to show progress on standard error.
        stop_after: Number of epochs after which to stop, as if the process was killed; None to train all.

    Returns:
        The run directory.

    Raises:
        UsageError: Settings contradict each other, or the directory already contains a run.
        AnnotationError: The skeleton file is malformed.
        TrainingError: The loss is not finite, or memory ran out.
        TrainingStopped: A signal stopped the run after it was saved.
    """
    if resume is None and settings.out != "auto":
        # Check before the time-consuming preparation.
        runs.refuse_begun(Path(settings.out))
    checkpoint = runs.load(runs.run_file(resume, "last")) if resume is not None else None
    prepared = prepare(settings, begun=settings_before(checkpoint))
    # Each process loads its own copy.
    del checkpoint
    folder = resume or Path(prepared.settings.out)
    prepared = prepared.at(folder)
    if resume is None:
        runs.refuse_begun(folder)
    if "auto" in (prepared.settings.training.phase1_epochs, prepared.settings.training.phase2_epochs):
        prepared = choose_epochs(prepared, measure_cost(prepared))
    launch(
        _train,
        prepared.settings.training,
        prepared=prepared,
        settings=prepared.settings,
        resume=resume is not None,
        show=show,
        stop_after=stop_after,
    )
    return folder


def _about(prepared: Prepared, identity: dict[str, Any]) -> dict[str, Any]:
    names = ("layout", "num_joints", "estimator", "version", "commit", "content_digest")
    return {
        "data": prepared.settings.data.file,
        **{name: identity[name] for name in names},
        "classes": prepared.num_classes,
        "parameters": size_of(prepared).parameters,
    }


def _train(
    fabric: Fabric,
    *,
    settings: RunSettings,
    prepared: Prepared | None,
    resume: bool,
    show: bool,
    stop_after: int | None,
) -> SkelpipeError | None:
    """Run one process of the training. An error that stops all processes is returned, since values can be passed on."""
    # With torchrun or srun, each process measures its own numbers of epochs; use those of the first process.
    settings = fabric.broadcast(settings)
    folder = Path(settings.out)
    checkpoint = runs.load(runs.run_file(folder, "last")) if resume else None
    prepared = replace(prepared or prepare(settings, begun=settings_before(checkpoint)), settings=settings)
    identity = runs.identity_of(
        settings,
        label_names=prepared.clips.label_names,
        layout=prepared.layout,
        num_joints=prepared.num_joints,
        channels=prepared.channels,
        dimensions=prepared.clips.dimensions,
        estimator=prepared.clips.estimator,
        extraction=prepared.clips.extraction,
    ) | {"content_digest": prepared.content_digest}
    if checkpoint is not None:
        check_same_run(checkpoint, prepared, run=str(folder))
    elif fabric.is_global_zero:
        runs.begin_run(
            folder,
            settings,
            label_names=prepared.clips.label_names,
            split=prepared.split(),
            about=_about(prepared, identity),
        )
    training = TrainingRun(
        fabric,
        RecognizerTraining(prepared, rank=fabric.global_rank, world_size=fabric.world_size),
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
            f"{folder}: out of memory with batches of {settings.training.batch_size} clips; start again with "
            f"training.accumulate={parts}, which splits a step into {parts} parts, or with a smaller --batch-size"
        ):
            return training.run(stop_after)
    finally:
        training.close()

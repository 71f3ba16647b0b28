"""The training of a recognizer: cross-entropy alone in phase one, both pathways in phase two (section 3.5).

One loop for all machines, through Lightning Fabric: a processor, a GPU, or many GPUs that share each batch. A run that
is stopped at any step, and resumed, gives the losses and weights of one that was not.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from pose_extraction.errors import SkelpipeError
from recognition import runs
from recognition.preparation import Prepared, prepare
from recognition.processes import launch
from recognition.resuming import check_same_run, settings_before
from recognition.settings import RunSettings
from recognition.sizing import choose_epochs, measure_cost, out_of_memory_told, size_of
from recognition.training_loop import Training, TrainingStopped

__all__ = ["TrainingStopped", "train"]


def train(
    settings: RunSettings, *, resume: Path | None = None, show: bool = False, stop_after: int | None = None
) -> Path:
    """Trains a recognizer, or goes on with one.

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
    if resume is None and settings.out != "auto":
        # Before anything that takes time.
        runs.refuse_begun(Path(settings.out))
    checkpoint = runs.load(runs.run_file(resume, "last")) if resume is not None else None
    prepared = prepare(settings, begun=settings_before(checkpoint))
    # Each process reads its own.
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
    """One process of a run. What stops all of them alike comes back as a value, which passes between processes."""
    # Numbers of epochs by measurement differ between processes that torchrun or srun started: the first one's count.
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
    training = Training(fabric, prepared, checkpoint, identity=identity, show=show and fabric.is_global_zero)
    parts = 2 * settings.training.accumulate
    try:
        with out_of_memory_told(
            f"{folder}: memory ran out with batches of {settings.training.batch_size} clips; begin again with "
            f"training.accumulate={parts}, which makes a step of {parts} parts, or with a smaller --batch-size"
        ):
            return training.run(stop_after)
    finally:
        training.close()

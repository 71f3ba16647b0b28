"""The training of a recognizer: what the workflow of all trainings needs to know about it."""

from pathlib import Path
from typing import Any

from recognition.engine.training_run import TrainingStopped
from recognition.engine.workflow import Workflow
from recognition.settings import RunSettings
from recognition.training.mirroring import with_mirroring
from recognition.training.preparation import Prepared, prepare
from recognition.training.recognizer_training import RecognizerTraining
from recognition.training.resuming import check_same_run, settings_before
from recognition.training.sizing import choose_epochs, measure_cost, size_of

__all__ = ["TrainingStopped", "train"]


class RecognizerWorkflow(Workflow[RunSettings, Prepared]):
    """Training of a recognizer."""

    about = ("layout", "num_joints", "estimator", "version", "commit", "content_digest")

    def prepare(self, settings: RunSettings, checkpoint: dict[str, Any] | None) -> Prepared:
        return prepare(settings, begun=settings_before(checkpoint))

    def check_same(self, checkpoint: dict[str, Any], prepared: Prepared, *, run: str) -> None:
        check_same_run(checkpoint, prepared, run=run)

    def measure(self, prepared: Prepared, *, resumed: bool) -> Prepared:
        if not resumed:
            prepared = with_mirroring(prepared)
        training = prepared.settings.training
        if "auto" in (training.phase1_epochs, training.phase2_epochs):
            return choose_epochs(prepared, measure_cost(prepared))
        return prepared

    def build(self, prepared: Prepared, *, rank: int, world_size: int) -> RecognizerTraining:
        return RecognizerTraining(prepared, rank=rank, world_size=world_size)

    def network_facts(self, prepared: Prepared) -> dict[str, Any]:
        return {"classes": prepared.num_classes, "parameters": size_of(prepared).parameters, **prepared.composition()}


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
    return RecognizerWorkflow().run(settings, resume=resume, show=show, stop_after=stop_after)

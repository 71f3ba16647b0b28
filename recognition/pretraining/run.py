"""The pre-training of an encoder: what the workflow of all trainings needs to know about it."""

from pathlib import Path
from typing import Any

from recognition.engine.training_run import TrainingStopped
from recognition.engine.workflow import Workflow
from recognition.pretraining.encoder_training import EncoderTraining
from recognition.pretraining.preparation import Pretraining, prepare_pretraining
from recognition.pretraining.resuming import check_same_pretraining
from recognition.pretraining.settings import PretrainSettings

__all__ = ["TrainingStopped", "pretrain"]


class EncoderWorkflow(Workflow[PretrainSettings, Pretraining]):
    """Pre-training of an encoder."""

    about = ("method", "layout", "num_joints", "dimensions", "estimator", "version", "commit", "content_digest")

    def prepare(self, settings: PretrainSettings, checkpoint: dict[str, Any] | None) -> Pretraining:
        return prepare_pretraining(settings)

    def check_same(self, checkpoint: dict[str, Any], prepared: Pretraining, *, run: str) -> None:
        check_same_pretraining(checkpoint, prepared, run=run)

    def build(self, prepared: Pretraining, *, rank: int, world_size: int) -> EncoderTraining:
        return EncoderTraining(prepared, rank=rank, world_size=world_size)

    def identity(self, prepared: Pretraining) -> dict[str, Any]:
        return super().identity(prepared) | {"method": prepared.settings.method}


def pretrain(
    settings: PretrainSettings, *, resume: Path | None = None, show: bool = False, stop_after: int | None = None
) -> Path:
    """Pre-train an encoder, or resume a pre-training.

    Args:
        settings: Settings of the run; "auto" values are resolved here.
        resume: Run directory to resume. `settings` must equal those of the run, except for those that may change.
        show: Whether to show progress on standard error.
        stop_after: Number of epochs after which to stop, as if the process was killed; None to train all.

    Returns:
        The run directory.

    Raises:
        UsageError: Settings are incompatible, or the directory already contains a run.
        AnnotationError: The skeleton file is malformed.
        TrainingError: The loss is not finite, or memory ran out.
        TrainingStopped: A signal stopped the run after it was saved.
    """
    return EncoderWorkflow().run(settings, resume=resume, show=show, stop_after=stop_after)

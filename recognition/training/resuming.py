"""Check that a resumed run has the same data and settings; `engine.training_run` restores its state."""

from typing import Any

from recognition.engine.same_run import LOCATION_AND_SPEED, check_same_clips, dotted, refuse_changed
from recognition.settings import RunSettings
from recognition.training.preparation import Prepared

_FREE = LOCATION_AND_SPEED | {"init", "training.compile", "training.early_stopping"}
# Settings of the prototypes, which are used from the last epoch of phase one on.
_OF_PROTOTYPES = {"maskclr.representation", "maskclr.confidence", "maskclr.momentum"}


def settings_before(checkpoint: dict[str, Any] | None) -> RunSettings | None:
    """Return the resolved settings that a checkpoint contains; None without a checkpoint."""
    return RunSettings.model_validate(checkpoint["settings"]) if checkpoint is not None else None


def check_same_run(checkpoint: dict[str, Any], prepared: Prepared, *, run: str) -> None:
    """Refuse to resume with other clips, or with settings that would change the completed part of the run.

    Settings that concern future epochs only may change: the number of epochs of phase two with the exponential
    schedule, and, before phase two has started, the objective and MaskCLR's settings, because phase one is the same for
    all objectives.

    Args:
        checkpoint: Checkpoint of the run.
        prepared: Data and settings to resume with.
        run: Name of the run, for the message.

    Raises:
        UsageError: Clips or a setting differ; the message names the difference.
    """
    check_same_clips(checkpoint, prepared, run=run)
    before = dotted(RunSettings.model_validate(checkpoint["settings"]).model_dump(mode="json"))
    now = dotted(prepared.settings.model_dump(mode="json"))
    free = set(_FREE)
    phase1 = before["training.phase1_epochs"]
    if checkpoint["epoch"] < phase1 or (checkpoint["epoch"] == phase1 and not checkpoint["training"]["step_in_epoch"]):
        free |= {name for name in before if name.startswith("maskclr.")} - _OF_PROTOTYPES
        free.add("training.objective")
    if before["training.schedule"] == "exponential":
        free.add("training.phase2_epochs")
    refuse_changed(before, now, free, run=run)

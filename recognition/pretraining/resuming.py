"""Check that a resumed pre-training has the same data, settings and network."""

from typing import Any

import torch

from pose_extraction.errors import UsageError
from recognition.engine.same_run import LOCATION_AND_SPEED, check_same_clips, dotted, refuse_changed
from recognition.pretraining.preparation import Pretraining
from recognition.pretraining.settings import PretrainSettings

_FREE = LOCATION_AND_SPEED | {"training.keep_epochs"}


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
    check_same_clips(checkpoint, prepared, run=run)
    before = dotted(PretrainSettings.model_validate(checkpoint["settings"]).model_dump(mode="json"))
    refuse_changed(before, dotted(prepared.settings.model_dump(mode="json")), _FREE, run=run)
    with torch.device("meta"):
        own = prepared.build_objective().state_dict()
    sizes = {name: tensor.shape for name, tensor in checkpoint["model"].items()}
    # The best weights of a finished run contains only the encoder.
    other = [name for name, tensor in own.items() if sizes.get(name, tensor.shape) != tensor.shape]
    if other:
        raise UsageError(
            f"{run}: was started by another version of skelpipe, with a different size of {other[0]}; start a new run"
        )

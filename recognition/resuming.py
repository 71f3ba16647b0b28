"""Random states in a checkpoint, and the check that a resumed run has the same data and settings."""

import random
from collections.abc import Container
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from pose_extraction.errors import UsageError
from recognition.preparation import Prepared
from recognition.settings import RunSettings

# Settings that change location or speed, but not the result, apart from rounding.
_FREE = (
    "out",
    "init",
    "data.file",
    "data.keypoint_files",
    "data.workers",
    "training.device",
    "training.devices",
    "training.nodes",
    "training.precision",
    "training.compile",
    "training.early_stopping",
    "training.checkpoint_minutes",
)


# Settings of the prototypes, which are used from the last epoch of phase one on.
_OF_PROTOTYPES = {"maskclr.representation", "maskclr.confidence", "maskclr.momentum"}


def random_state(fabric: Fabric) -> dict[str, Any]:
    """Return the states of all random generators: torch of every process, Python and NumPy. A collective call."""
    own = {"cpu": torch.get_rng_state()}
    if fabric.device.type == "cuda":
        own["cuda"] = torch.cuda.get_rng_state(fabric.device)
    everyone = {}
    for name, state in own.items():
        # Each process fills in its own row; the sum over the processes contains all rows.
        rows = torch.zeros(fabric.world_size, len(state), dtype=state.dtype, device=fabric.device)
        rows[fabric.global_rank] = state.to(fabric.device)
        gathered: torch.Tensor = fabric.all_reduce(rows, reduce_op="sum")  # type: ignore[assignment]
        everyone[name] = gathered.cpu()
    version, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "torch": everyone,
        "python": random.getstate(),
        "numpy": (version, [int(key) for key in keys], int(position), int(has_gauss), float(cached)),
    }


def restore_random_state(state: dict[str, Any], fabric: Fabric) -> bool:
    """Restore the states that `random_state` returned.

    Args:
        state: Result of `random_state`.
        fabric: Connection between the processes.

    Returns:
        False if the number of processes or the type of device has changed. The torch generators then continue from the
        seed, so dropout differs from that of an uninterrupted run.
    """
    random.setstate(state["python"])
    version, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((version, np.array(keys, np.uint32), position, has_gauss, cached))
    everyone = state["torch"]
    if len(everyone["cpu"]) != fabric.world_size or ("cuda" in everyone) != (fabric.device.type == "cuda"):
        return False
    torch.set_rng_state(everyone["cpu"][fabric.global_rank])
    if "cuda" in everyone:
        torch.cuda.set_rng_state(everyone["cuda"][fabric.global_rank], fabric.device)
    return True


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
    if checkpoint["content_digest"] != prepared.content_digest:
        raise UsageError(
            f"{run}: was trained on clips that differ from those of {prepared.settings.data.file}; resume it with the "
            "original file, or start a new run with --init"
        )
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


def refuse_changed(before: dict[str, Any], now: dict[str, Any], free: Container[str], *, run: str) -> None:
    """Refuse settings that differ, except for those that may change.

    Args:
        before: Settings of the run by dotted name.
        now: New settings by dotted name.
        free: Names of the settings that may change.
        run: Name of the run, for the message.

    Raises:
        UsageError: A setting differs; the message names it.
    """
    for name in sorted(before.keys() | now.keys()):
        if name not in free and before.get(name) != now.get(name):
            raise UsageError(
                f"{run}: was trained with {name}={before.get(name)}, not {now.get(name)}; omit it to resume with the "
                "original value, or start a new run"
            )


def dotted(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings to a dictionary with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= dotted(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat

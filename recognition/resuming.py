"""What a checkpoint holds so that a resumed run is the same run: random states, and a check that it is the same."""

import random
from collections.abc import Container
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from pose_extraction.errors import UsageError
from recognition.preparation import Prepared
from recognition.settings import RunSettings

# Where and how fast, but not what is computed, up to rounding.
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


# What prototypes are made with, from the last epoch of phase one on.
_OF_PROTOTYPES = {"maskclr.representation", "maskclr.confidence", "maskclr.momentum"}


def random_state(fabric: Fabric) -> dict[str, Any]:
    """States of all random generators: torch's of every process, and those of Python and NumPy. A collective call."""
    own = {"cpu": torch.get_rng_state()}
    if fabric.device.type == "cuda":
        own["cuda"] = torch.cuda.get_rng_state(fabric.device)
    everyone = {}
    for name, state in own.items():
        # Each process fills in its own row; together the rows are a sum.
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
    """Puts them back.

    Returns:
        False where the run had another number of processes, or other devices: then torch's generators go on from the
        seed, and dropout draws other numbers than it would have.
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
    """Settings that a run had when it was saved, resolved."""
    return RunSettings.model_validate(checkpoint["settings"]) if checkpoint is not None else None


def check_same_run(checkpoint: dict[str, Any], prepared: Prepared, *, run: str) -> None:
    """Refuses to go on with other clips, or with settings that would make it another run.

    What only concerns epochs to come may change: the number of epochs of phase two on the exponential schedule, and,
    as long as phase two has not begun, the objective and MaskCLR's settings, because phase one is the same for all.

    Args:
        checkpoint: Of the run.
        prepared: What is to go on.
        run: The run's name, for the message.

    Raises:
        UsageError: Something differs; the message names it.
    """
    if checkpoint["content_digest"] != prepared.content_digest:
        raise UsageError(
            f"{run}: was trained on other clips than those of {prepared.settings.data.file}; resume it with the same "
            "file, or begin a new run with --init"
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
    """Refuses settings by dotted name that differ, but for those that are free to.

    Raises:
        UsageError: One does; the message names it.
    """
    for name in sorted(before.keys() | now.keys()):
        if name not in free and before.get(name) != now.get(name):
            raise UsageError(
                f"{run}: was trained with {name}={before.get(name)}, not {now.get(name)}; leave it out to go on as "
                "before, or begin a new run"
            )


def dotted(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= dotted(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat

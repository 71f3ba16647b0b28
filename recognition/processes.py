"""Where a training runs: a processor, a GPU, or a process for each of many."""

import gc
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any, Literal, Protocol

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning_fabric.strategies import DDPStrategy, Strategy

from pose_extraction.errors import SkelpipeError, UsageError
from recognition.interruption import StopSignals


class Machines(Protocol):
    """What settings of a training say of where it runs."""

    @property
    def device(self) -> str: ...

    @property
    def devices(self) -> int | Literal["auto"]: ...

    @property
    def nodes(self) -> int: ...


def build_fabric(training: Machines) -> Fabric:
    """Fabric for the device, the number of processes and nodes; precision is the step's own matter.

    Raises:
        UsageError: More nodes than one, without a launcher that starts a process on each.
    """
    cuda = training.device.startswith("cuda")
    numbers = [int(number) for number in training.device.removeprefix("cuda:").split(",")] if cuda else []
    devices: int | list[int] = numbers if cuda else 1
    if training.devices != "auto":
        devices = numbers if len(numbers) == training.devices else training.devices
    several = training.nodes > 1 or (devices if isinstance(devices, int) else len(devices)) > 1
    if training.nodes > 1 and not launched_from_outside():
        raise UsageError("training.nodes is more than 1: start the command on every node with torchrun or srun")
    strategy: str | Strategy = "auto"
    if several:
        strategy = DDPStrategy(start_method="popen" if launched_from_outside() else "spawn")
    return Fabric(
        accelerator="cuda" if cuda else "cpu",
        devices=devices,
        num_nodes=training.nodes,
        strategy=strategy,
        precision="32-true",
    )


def launched_from_outside() -> bool:
    """Whether torchrun or SLURM has started the processes already."""
    return TorchElasticEnvironment.detect() or SLURMEnvironment.detect()


def launch(
    process: Callable[..., SkelpipeError | None], training: Machines, *, prepared: Any, **arguments: Any
) -> None:
    """Runs a training's processes to their end.

    Args:
        process: One process: takes its Fabric, `prepared` and the arguments, and gives back what stopped it. That is a
            value, because exceptions do not pass between processes.
        training: Where it runs.
        prepared: The data. None for processes that are spawned, which open the file themselves: that is faster than to
            send them its content.
        arguments: The same for every process.

    Raises:
        SkelpipeError: What stopped it.
    """
    fabric = build_fabric(training)
    spawns = fabric.world_size > 1 and not launched_from_outside()
    own = partial(_to_its_end, process=process, prepared=None if spawns else prepared, **arguments)
    # Around processes, which ask the question themselves, a signal has only to be passed on.
    with StopSignals() if spawns else nullcontext():
        failure = fabric.launch(own)
    if failure is not None:
        raise failure


def _to_its_end(
    fabric: Fabric, *, process: Callable[..., SkelpipeError | None], **arguments: Any
) -> SkelpipeError | None:
    """Runs one process, and takes its group down: one that ends with the group's threads running is aborted at times.

    A wrapped network keeps the group, too, and must be gone before. Were it the last to let go of it, it would wait for
    the group's threads while holding the interpreter, for which these wait to let go of their tensors; the group's own
    object gives the interpreter up while it waits.
    """
    try:
        failure = process(fabric, **arguments)
        # The first one holds what the others meet at.
        fabric.barrier()
        return failure
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)
        raise
    finally:
        gc.collect()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()

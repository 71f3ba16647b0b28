"""Launch of a training: on a CPU, on a GPU, or with one process per GPU."""

import gc
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch

from pose_extraction.errors import SkelpipeError, UsageError
from recognition.engine.interruption import StopSignals
from recognition.engine.settings import Machines
from recognition.fabric import DDPStrategy, Fabric, SLURMEnvironment, Strategy, TorchElasticEnvironment


def build_fabric(training: Machines) -> Fabric:
    """Create the Fabric for the configured device, number of processes and nodes.

    Precision is left to `TrainingStep`.

    Args:
        training: Device, number of devices and number of nodes.

    Raises:
        UsageError: Several nodes are configured, but no launcher such as torchrun has started the processes.
    """
    cuda = training.device.startswith("cuda")
    numbers = [int(number) for number in training.device.removeprefix("cuda:").split(",")] if cuda else []
    devices: int | list[int] = numbers if cuda else 1
    if training.devices != "auto":
        devices = numbers if len(numbers) == training.devices else training.devices
    processes = training.nodes * (devices if isinstance(devices, int) else len(devices))
    if training.nodes > 1 and not launched_from_outside():
        raise UsageError("training.nodes is more than 1: start the command on every node with torchrun or srun")
    strategy: str | Strategy = "auto"
    if processes > 1:
        strategy = DDPStrategy(start_method="popen" if launched_from_outside() else "spawn")
    return Fabric(
        accelerator="cuda" if cuda else "cpu",
        devices=devices,
        num_nodes=training.nodes,
        strategy=strategy,
        precision="32-true",
    )


def single_device(device: str) -> Fabric:
    """Create a Fabric for training in this process alone.

    Args:
        device: "cpu" or a GPU, such as "cuda:0".
    """
    kind, _, number = device.partition(":")
    return Fabric(accelerator=kind, devices=[int(number or 0)] if kind == "cuda" else 1, precision="32-true")


def launched_from_outside() -> bool:
    """Return whether torchrun or SLURM has started the processes."""
    return TorchElasticEnvironment.detect() or SLURMEnvironment.detect()


def launch(
    process: Callable[..., SkelpipeError | None], training: Machines, *, prepared: Any, **arguments: Any
) -> None:
    """Run all processes of a training until they end.

    Args:
        process: Body of one process. Called with its Fabric, `prepared` and the arguments; returns the error that
            stopped it, or None. A value, because exceptions do not cross process boundaries.
        training: Where the training runs.
        prepared: The data. Spawned processes receive None and open the file themselves, which is faster than sending
            them its content.
        arguments: The same for every process.

    Raises:
        SkelpipeError: The error that stopped the training.
    """
    fabric = build_fabric(training)
    spawns = fabric.world_size > 1 and not launched_from_outside()
    own = partial(_run_process, process=process, prepared=None if spawns else prepared, **arguments)
    # Spawned processes poll the flag themselves; this process only has to forward signals to them.
    with StopSignals() if spawns else nullcontext():
        failure = fabric.launch(own)
    if failure is not None:
        raise failure


def _run_process(
    fabric: Fabric, *, process: Callable[..., SkelpipeError | None], **arguments: Any
) -> SkelpipeError | None:
    """Run one process, then destroy its process group.

    A process that ends while the group's threads run is sometimes aborted. A wrapped network also refers to the group
    and must be freed first. If the network held the last reference, it would wait for the group's threads while it
    holds the interpreter lock, which these threads need to release their tensors. The group object itself releases the
    lock while it waits.
    """
    try:
        failure = process(fabric, **arguments)
        # The first process hosts the store through which the others meet, so it must not leave first.
        fabric.barrier()
        return failure
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)
        raise
    finally:
        if torch.distributed.is_initialized():
            gc.collect()
            torch.distributed.destroy_process_group()

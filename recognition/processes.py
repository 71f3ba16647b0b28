"""Where a training runs: a processor, a GPU, or a process for each of many."""

from typing import Literal, Protocol

from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning_fabric.strategies import DDPStrategy, Strategy

from pose_extraction.errors import UsageError


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

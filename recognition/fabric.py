"""Lightning Fabric and DDP without torch's compiler, which they import for the sake of one class and one setting."""

from contextlib import contextmanager
from functools import partial
from inspect import unwrap

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pose_extraction.engines.without_compiler import is_imported, without_compiler

with without_compiler():
    from lightning_fabric import Fabric, strategies
    from lightning_fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
    from lightning_fabric.strategies import Strategy


class DDPStrategy(strategies.DDPStrategy):
    """DDP that does not import the compiler to learn that it compiles nothing."""

    def setup_module(self, module: nn.Module) -> DistributedDataParallel:
        """Wrap a network; see Fabric."""
        if is_imported():
            return super().setup_module(module)
        with without_compiler():
            wrapped = super().setup_module(module)
        # The original is marked as not to be compiled, and that mark imports the compiler.
        if (marked := getattr(DistributedDataParallel, "_inside_ddp_forward", None)) is not None:
            wrapped._inside_ddp_forward = partial(contextmanager(unwrap(marked)), wrapped)  # type: ignore[method-assign]
        return wrapped


__all__ = ["DDPStrategy", "Fabric", "SLURMEnvironment", "Strategy", "TorchElasticEnvironment"]

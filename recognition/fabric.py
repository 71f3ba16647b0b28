"""Lightning Fabric and DDP without torch's compiler, which they import for the sake of one class and one setting.

The compiler takes longer to import than torch itself, and imports SymPy, scikit-learn and ONNX Runtime. Unless the user
asks for it, nothing here compiles networks, so a placeholder takes the place of the compiler's module while Fabric is
imported and while DDP wraps a network. Afterwards the real module can be imported as usual; it is not replaced if it is
already there.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from inspect import unwrap
from types import ModuleType, SimpleNamespace
from typing import Any

# First, so that torch itself never sees the placeholder.
import torch
from torch.nn.parallel import DistributedDataParallel

_COMPILER = "torch._dynamo"


class _CompiledModule:
    """Stands for the class of compiled networks; no network is an instance of it."""


@contextmanager
def _placeholder(**content: Any) -> Iterator[None]:
    """Put a module with this content in the compiler's place, unless the compiler is there."""
    if _COMPILER in sys.modules:
        yield
        return
    module = sys.modules[_COMPILER] = ModuleType(_COMPILER)
    vars(module).update(content)
    try:
        yield
    finally:
        del sys.modules[_COMPILER]


with _placeholder(OptimizedModule=_CompiledModule):
    from lightning_fabric import Fabric, strategies
    from lightning_fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
    from lightning_fabric.strategies import Strategy


class DDPStrategy(strategies.DDPStrategy):
    """DDP that does not import the compiler to learn that it compiles nothing."""

    def setup_module(self, module: torch.nn.Module) -> DistributedDataParallel:
        """Wrap a network; see Fabric."""
        if _COMPILER in sys.modules:
            return super().setup_module(module)
        with _placeholder(utils=SimpleNamespace(get_optimize_ddp_mode=lambda: "no_optimization")):
            wrapped = super().setup_module(module)
        # The original is marked as not to be compiled, and that mark imports the compiler.
        inside = contextmanager(unwrap(DistributedDataParallel._inside_ddp_forward))
        wrapped._inside_ddp_forward = partial(inside, wrapped)  # type: ignore[method-assign]
        return wrapped


__all__ = ["DDPStrategy", "Fabric", "SLURMEnvironment", "Strategy", "TorchElasticEnvironment"]

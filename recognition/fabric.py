"""Lightning Fabric without torch's compiler, which Fabric imports for the sake of one class.

The compiler takes longer to import than torch itself, and imports SymPy, scikit-learn and ONNX Runtime. Nothing here
compiles networks, so a placeholder takes the place of the compiler's module while Fabric is imported. Afterwards the
real module can be imported as usual; it is not replaced if it is already there.
"""

import sys
from types import ModuleType

# First, so that torch itself never sees the placeholder.
import torch  # noqa: F401

_COMPILER = "torch._dynamo"


class _CompiledModule:
    """Stands for the class of compiled networks; no network is an instance of it."""


_placeholder = _COMPILER not in sys.modules
if _placeholder:
    sys.modules[_COMPILER] = ModuleType(_COMPILER)
    sys.modules[_COMPILER].OptimizedModule = _CompiledModule  # type: ignore[attr-defined]
try:
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
    from lightning_fabric.strategies import DDPStrategy, Strategy
finally:
    if _placeholder:
        del sys.modules[_COMPILER]

__all__ = ["DDPStrategy", "Fabric", "SLURMEnvironment", "Strategy", "TorchElasticEnvironment"]

"""Imports of libraries without torch's compiler, which they import for the sake of one class or function.

The compiler takes longer to import than torch itself, and imports SymPy, scikit-learn and ONNX Runtime. Unless the user
asks for it, nothing here compiles networks, so a placeholder takes its place during the import. Afterwards the real
module can be imported as usual; it is not replaced if it is already there.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

# First, so that torch itself never sees the placeholder.
import torch  # noqa: F401

COMPILER = "torch._dynamo"


class _Placeholder(ModuleType):
    """A module with a given content; anything else is looked up in the real module, which is imported then."""

    def __init__(self, name: str, **content: Any) -> None:
        super().__init__(name)
        vars(self).update(content)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        _remove()
        return getattr(importlib.import_module(self.__name__), name)


class _CompiledModule:
    """Stands for the class of compiled networks; no network is an instance of it."""


def _is_compile_supported(device_type: str) -> bool:
    from torch._dynamo.utils import is_compile_supported

    supported: bool = is_compile_supported(device_type)
    return supported


def _remove() -> None:
    for name in (COMPILER, f"{COMPILER}.utils"):
        if isinstance(sys.modules.get(name), _Placeholder):
            del sys.modules[name]


@contextmanager
def without_compiler() -> Iterator[None]:
    """Put a placeholder in the place of torch's compiler during the block, unless the compiler has been imported."""
    if is_imported():
        yield
        return
    utils = _Placeholder(
        f"{COMPILER}.utils",
        get_optimize_ddp_mode=lambda: "no_optimization",
        is_compile_supported=_is_compile_supported,
    )
    sys.modules[COMPILER] = _Placeholder(COMPILER, OptimizedModule=_CompiledModule, utils=utils)
    sys.modules[utils.__name__] = utils
    try:
        yield
    finally:
        _remove()


def is_imported() -> bool:
    """Return whether torch's compiler has been imported."""
    return COMPILER in sys.modules

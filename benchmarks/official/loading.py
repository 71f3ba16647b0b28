"""Loads single modules of published repositories, without their other dependencies.

Their packages have common names such as `model` or `lib`, so that only one repository can be loaded at a time, and some
import frameworks at the top that the parts compared here do not need. Stand-ins take the place of those.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock, patch

import torch

# In float64, results that differ only by the order of operations differ by less.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Difference:
    """Largest difference between a published result and ours.

    Args:
        subject: What was compared.
        largest: Largest absolute difference, or a number of elements that differ.
        limit: Largest value that counts as equal.
        note: Explanation of a known difference.
    """

    subject: str
    largest: float
    limit: float = ROUNDING
    note: str = ""

    @property
    def equal(self) -> bool:
        return self.largest <= self.limit


@contextmanager
def modules_of(root: Path, stand_ins: Mapping[str, ModuleType] | None = None) -> Iterator[None]:
    """Make the modules of a repository importable, and forget them afterwards.

    Args:
        root: The clone, which becomes the first folder that Python searches.
        stand_ins: Modules by full name that replace others.
    """
    before = dict(sys.modules)
    # Our own modules of these names, of which some may be loaded.
    hidden = {name for name in before if (root / name.split(".")[0]).exists()}
    for name in hidden:
        del sys.modules[name]
    sys.modules.update(stand_ins or {})
    sys.path.insert(0, str(root))
    # Published code prints while it builds networks, and leaves no byte code in the clone.
    wrote, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        with redirect_stdout(StringIO()), on_cpu():
            yield
    finally:
        sys.dont_write_bytecode = wrote
        sys.path[:] = [entry for entry in sys.path if entry not in (str(root), "")]
        # Found before any is removed, because the folders of a namespace package depend on its parents.
        loaded = [name for name, module in sys.modules.items() if name in (stand_ins or {}) or _lies_in(module, root)]
        for name in loaded:
            del sys.modules[name]
        sys.modules.update({name: before[name] for name in hidden})


def _lies_in(module: ModuleType, root: Path) -> bool:
    # Not by `getattr`, because some modules have every attribute.
    content = getattr(module, "__dict__", {})
    places = [content.get("__file__") or "", *(content.get("__path__") or [])]
    return any(str(place).startswith(f"{root}/") for place in places)


@contextmanager
def on_cpu() -> Iterator[None]:
    """Leave tensors where they are when published code moves them to a GPU."""
    with (
        patch.object(torch.Tensor, "cuda", lambda self, *_, **__: self),
        patch.object(torch.nn.Module, "cuda", lambda self, *_, **__: self),
    ):
        yield


def stand_in(name: str, **content: Any) -> ModuleType:
    """Return a module with the given content; every other attribute exists, too, and does nothing."""
    module = ModuleType(name)
    module.__dict__.update(content)
    module.__dict__["__getattr__"] = lambda attribute: MagicMock(name=f"{name}.{attribute}")
    return module


def package(name: str, folder: Path, **content: Any) -> ModuleType:
    """Return a package whose modules are in `folder`, without running its own `__init__`."""
    module = ModuleType(name)
    module.__path__ = [str(folder)]
    module.__dict__.update(content)
    return module


def largest_difference(one: Any, other: Any) -> float:
    """Return the largest difference of arrays or tensors of one shape, relative to the largest value if above 1."""
    first, second = torch.as_tensor(one).detach().double(), torch.as_tensor(other).detach().double()
    if first.shape != second.shape:
        raise ValueError(f"shapes {tuple(first.shape)} and {tuple(second.shape)} differ")
    return float((first - second).abs().max() / second.abs().max().clamp_min(1))


def randomise(module: torch.nn.Module, scale: float = 0.1) -> None:
    """Add noise of this deviation to all weights and running statistics, so that none of them is without effect."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in learned(module).items():
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
                tensor.copy_(noise.square() + 0.5 if name.endswith("running_var") else tensor + scale * noise)


def learned(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return parameters and running statistics by name, without constants such as positions."""
    constants = {
        name for name, _ in module.named_buffers() if not name.endswith(("running_mean", "running_var", "_tracked"))
    }
    return {name: tensor for name, tensor in module.state_dict().items() if name not in constants}


def copy_weights(ours: torch.nn.Module, renamed: Mapping[str, torch.Tensor], *, besides: tuple[str, ...] = ()) -> None:
    """Load published weights under our names; every tensor of ours must occur.

    Args:
        ours: Our network.
        renamed: Published tensors by our names; the number of elements must agree, the shape need not.
        besides: Ends of the names of tensors that the published network lacks.

    Raises:
        KeyError: A tensor is missing, or is not one of ours.
    """
    own = ours.state_dict()
    missing = [name for name in own if name not in renamed and not name.endswith(besides or ("\0",))]
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    extra = [name for name in renamed if name not in own]
    if missing or extra:
        raise KeyError(f"without a counterpart: of ours {missing}, of theirs {extra}")
    with torch.no_grad():
        for name, tensor in renamed.items():
            own[name].copy_(tensor.reshape(own[name].shape))

"""Read files of PyTorch without executing code from them.

All files are read with `torch.load(weights_only=True)`, whose unpickler accepts only tensors and plain containers.
Official checkpoints contain further objects, such as training logs or whole pickled networks. Their class names are
allowed one by one, and each is replaced by an inert record that stores its state and does nothing. Therefore no code
of numpy, mmengine, openpifpaf or torch.nn runs on untrusted data, and none of these packages has to be installed.
"""

import pickle
import re
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pose_extraction.errors import WeightsError

# Non-tensor objects in mmengine checkpoints: the log (its buffers refer to their own methods through getattr), the
# arguments and time of the training run, and data set statistics as numpy values.
OPENMMLAB_NAMES = (
    "argparse.Namespace",
    "builtins.getattr",
    "datetime.datetime",
    "datetime.timedelta",
    "mmengine.logging.history_buffer.HistoryBuffer",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy.dtype",
    "numpy.ndarray",
)
_REFUSED_NAME = re.compile(r"GLOBAL (\S+)")
# torch keeps one process-wide list of allowed names. The lock stops threads from removing each other's entries.
_ADMISSION = threading.Lock()
# An entry of that list: a class or function, or (always, in this module) a substitute with the name in the file.
Admitted = Callable[..., Any] | tuple[Callable[..., Any], str]


class Record:
    """Substitute for an allowed class or function. It stores the state and does nothing with it."""

    state: Mapping[str, Any]

    def __new__(cls, *arguments: Any) -> "Record":
        record = super().__new__(cls)
        record.state = {}
        return record

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.state = state


def records(names: Sequence[str]) -> list[Admitted]:
    """Return substitutes that admit the objects of these full names."""
    # One class per name: torch's unpickler sets the state only of objects whose exact class is on its list.
    return [(type(name.rpartition(".")[2], (Record,), {}), name) for name in names]


OPENMMLAB = records(OPENMMLAB_NAMES)


def load_safely(path: Path, admitted: list[Admitted]) -> Any:
    """Read a file of `torch.save`.

    Args:
        path: The file.
        admitted: Result of `records`: objects other than tensors and plain containers that the file may contain.

    Raises:
        WeightsError: The file is damaged, or refers to objects that are not admitted.
    """
    try:
        with _ADMISSION, torch.serialization.safe_globals(admitted):
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from error
    # Exceptions that damaged or hostile pickles raise in the unpickler.
    except (
        pickle.UnpicklingError,
        RuntimeError,
        LookupError,
        ArithmeticError,
        AssertionError,
        AttributeError,
        EOFError,
        MemoryError,
        TypeError,
        ValueError,
        struct.error,
    ) as error:
        refused = _REFUSED_NAME.search(str(error))
        if refused is not None:
            raise WeightsError(
                f"{path}: refused because the file refers to {refused[1]}, which these networks do not use. Nothing in "
                "the file was executed; get the official file, or save only its state_dict() again"
            ) from error
        reason = str(error).strip()
        if reason.startswith("Weights only load failed"):
            # Torch's text recommends loading without protection; only the cause at its end is useful.
            reason = reason.rpartition("WeightsUnpickler error:")[2].strip()
        reason = reason.partition("\n")[0] or type(error).__name__
        raise WeightsError(
            f"{path}: not a checkpoint that can be loaded safely ({reason}); it may be damaged"
        ) from error


def is_dense(value: Any) -> bool:
    """Return whether a value is a tensor with data on the CPU."""
    # A meta tensor has a shape but no data.
    return isinstance(value, torch.Tensor) and value.layout == torch.strided and value.device.type == "cpu"

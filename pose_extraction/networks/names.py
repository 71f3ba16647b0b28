"""Values of `--estimator` and `--detector`: names in the model table, and paths of ONNX files.

Nothing here loads the libraries that run networks, so that a wrong name is reported at once.
"""

from pathlib import Path

from pose_extraction.errors import WeightsError
from pose_extraction.networks import model_zoo


def is_onnx(name: str) -> bool:
    """Return whether a network is given as an ONNX file."""
    return name.lower().endswith(".onnx")


def display_name(name: str) -> str:
    """Return the name used in results: the stem of an ONNX file, or the given name in lower case."""
    return Path(name).stem if is_onnx(name) else name.lower()


def is_bottom_up(name: str) -> bool:
    """Return whether an estimator detects persons itself, so that no detector is needed."""
    return not is_onnx(name) and model_zoo.lookup(name, "estimator").family == "openpifpaf"


def check_exists(name: str, kind: str) -> None:
    """Check that a network is in the model table, or that its ONNX file exists.

    Args:
        name: Name listed by `skelpipe models`, or path of an ONNX file.
        kind: "estimator" or "detector".

    Raises:
        UsageError: The table has no such network.
        WeightsError: The file does not exist.
    """
    if not is_onnx(name):
        model_zoo.lookup(name, kind)
    elif not Path(name).is_file():
        raise WeightsError(
            f"ONNX file {name} does not exist; check the path, or use a name listed by `skelpipe models`"
        )

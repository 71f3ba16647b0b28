"""Values of `--estimator` and `--detector`: names in the model table, and paths of ONNX files.

Importing it does not load the libraries that run networks, so that a wrong name is reported at once.
"""

from pathlib import Path

from pose_extraction.errors import UsageError, WeightsError
from pose_extraction.networks import model_zoo

# Chooses the detector that suits the estimator.
AUTO = "auto"
DEFAULT_DETECTOR = "rtmdet"


def is_onnx(name: str) -> bool:
    """Return whether a network is given as an ONNX file."""
    return name.lower().endswith(".onnx")


def display_name(name: str) -> str:
    """Return the name used in results: the stem of an ONNX file, or the given name in lower case."""
    return Path(name).stem if is_onnx(name) else name.lower()


def detector_of(estimator: str, detector: str = AUTO) -> str | None:
    """Return the detector that an estimator runs with.

    Args:
        estimator: Name listed by `skelpipe models`, or path of an ONNX file.
        detector: Name, path, or "auto".

    Returns:
        Name or path; None where the estimator detects persons itself.

    Raises:
        UsageError: The estimator does not exist.
    """
    entry = None if is_onnx(estimator) else model_zoo.lookup(estimator, "estimator")
    family = entry.family if entry is not None else None
    if family == "openpifpaf" or (family == "blazepose" and (detector == AUTO or is_blazepose(detector))):
        return None
    if detector != AUTO:
        return detector
    return entry.detector if entry is not None and entry.detector is not None else DEFAULT_DETECTOR


def score_threshold_of(detector: str) -> float:
    """Return the default score threshold of a detector: that of the model table, or of the YAML file of an ONNX file.

    Args:
        detector: Name listed by `skelpipe models`, or path of an ONNX file; others have the general default.

    Raises:
        UsageError: The YAML file is malformed.
    """
    if is_onnx(detector):
        # Imported here because it loads the libraries that run networks.
        from pose_extraction.networks.onnx_models import detector_notes

        return detector_notes(Path(detector)).score_threshold
    try:
        return model_zoo.lookup(detector, "detector").score_threshold
    except UsageError:
        return model_zoo.SCORE_THRESHOLD


def is_blazepose(name: str | None) -> bool:
    """Return whether a name stands for one of BlazePose's networks."""
    return _is_of_family(name or "", "blazepose")


def searches_tiles(estimator: str, detector: str = AUTO) -> bool:
    """Return whether BlazePose's detector finds the persons, the only one that can search tiles of a frame.

    Arguments and errors as `detector_of`.
    """
    return is_blazepose(detector_of(estimator, detector) or estimator)


def is_published_onnx(name: str) -> bool:
    """Return whether a name in the model table stands for an ONNX file that is downloaded."""
    return _is_of_family(name, "onnx")


def _is_of_family(name: str, family: str) -> bool:
    wanted = name.lower()
    return any(entry.family == family and wanted in (entry.name, *entry.aliases) for entry in model_zoo.all_models())


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

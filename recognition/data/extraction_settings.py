"""Settings of the pose extraction that produced a skeleton file, read from the `history` of its clips."""

from collections.abc import Iterable, Mapping
from typing import Any

# Settings of `skelpipe extract` that influence poses. Start and end of a clip differ per clip and are not included.
SHAPING = (
    "detect_every",
    "detection_threshold",
    "square_input",
    "flip_test",
    "tiles",
    "max_persons",
    "persons",
    "smooth",
    "stride",
)
NETWORKS = ("estimator", "detector")


def extraction_of(annotations: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the extraction settings that all clips of a file have in common.

    Args:
        annotations: Clips of one skeleton file.

    Returns:
        The `SHAPING` settings by name; the networks' names as `estimator` and `detector`, and the first digits of their
        weights' SHA-256 as `estimator_weights` and `detector_weights`; the paths of ONNX files as `estimator_file` and
        `detector_file`. Settings that the file does not record are missing.
    """
    common: dict[str, Any] | None = None
    for annotation in annotations:
        own = _of_clip(annotation)
        if common is None:
            common = own
        elif own != common:
            common = {name: value for name, value in common.items() if name in own and own[name] == value}
    return common or {}


def _of_clip(annotation: Mapping[str, Any]) -> dict[str, Any]:
    history = annotation.get("history")
    first = history[0] if isinstance(history, list) and history else None
    if not isinstance(first, Mapping) or first.get("step") != "estimate":
        return {}
    parameters = first.get("parameters")
    if not isinstance(parameters, Mapping):
        return {}
    found = {name: parameters[name] for name in SHAPING if _is_plain(parameters.get(name, ()))}
    for kind in NETWORKS:
        network = parameters.get(kind)
        if isinstance(network, Mapping) and isinstance(network.get("name"), str):
            found[kind] = network["name"]
            recorded = {name: network.get(name) for name in ("weights", "file")}
            found |= {f"{kind}_{name}": value for name, value in recorded.items() if isinstance(value, str)}
    return found


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | bool | int | float)

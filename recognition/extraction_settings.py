"""How stage one was set when it made the skeletons of a file, as each clip's `history` notes it."""

from collections.abc import Iterable, Mapping
from typing import Any

# What shapes poses, of the settings of `skelpipe extract`; where a clip begins and ends is its own.
SHAPING = (
    "detect_every",
    "detection_threshold",
    "square_input",
    "flip_test",
    "max_persons",
    "persons",
    "smooth",
    "stride",
)
NETWORKS = ("estimator", "detector")


def extraction_of(annotations: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The settings of stage one that all clips of a file have in common; empty where the file does not say.

    Args:
        annotations: Of the clips.

    Returns:
        `SHAPING` by name; the networks' names as `estimator` and `detector`, and the beginnings of their weights'
        SHA-256 as `estimator_weights` and `detector_weights`.
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
            if isinstance(network.get("weights"), str):
                found[f"{kind}_weights"] = network["weights"]
    return found


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | bool | int | float)

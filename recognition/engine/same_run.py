"""Checks that a resumed run has the clips and the settings that it was started with."""

from collections.abc import Container
from typing import Any

from pose_extraction.errors import UsageError
from recognition.engine.prepared_run import PreparedRun

# Settings that change location or speed, but not the result, apart from rounding.
LOCATION_AND_SPEED = frozenset(
    (
        "out",
        "data.file",
        "data.keypoint_files",
        "data.workers",
        "training.device",
        "training.devices",
        "training.nodes",
        "training.precision",
        "training.checkpoint_minutes",
    )
)


def check_same_clips(checkpoint: dict[str, Any], prepared: PreparedRun[Any], *, run: str) -> None:
    """Refuse to resume a run with other clips.

    Args:
        checkpoint: Checkpoint of the run.
        prepared: Data and settings to resume with.
        run: Name of the run, for the message.

    Raises:
        UsageError: The clips differ.
    """
    if checkpoint["content_digest"] != prepared.content_digest:
        raise UsageError(
            f"{run}: was trained on clips that differ from those of {prepared.settings.data.file}; resume it with the "
            f"original file, or start a new run"
        )


def refuse_changed(before: dict[str, Any], now: dict[str, Any], free: Container[str], *, run: str) -> None:
    """Refuse settings that differ, except for those that may change.

    Args:
        before: Settings of the run by dotted name.
        now: New settings by dotted name.
        free: Names of the settings that may change.
        run: Name of the run, for the message.

    Raises:
        UsageError: A setting differs; the message names it.
    """
    for name in sorted(before.keys() | now.keys()):
        if name not in free and before.get(name) != now.get(name):
            raise UsageError(
                f"{run}: was trained with {name}={before.get(name)}, not {now.get(name)}; omit it to resume with the "
                "original value, or start a new run"
            )


def dotted(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings to a dictionary with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= dotted(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat

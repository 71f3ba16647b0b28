"""Result folder of `skelpipe evaluate --protocol`, and intermediate results of unfinished measurements."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.evaluate.folders import JSON_NAME, folder_for
from pose_extraction.files import atomic_write
from recognition.engine.same_run import dotted
from recognition.pretraining.encoder import Pretrained
from recognition.protocols.settings import ProtocolSettings

SUBSETS = "subsets.json"


def folder_of(
    word: str,
    data: Path,
    runs: Sequence[Pretrained],
    *,
    split: str | None,
    train_split: str | None,
    changes: Sequence[Mapping[str, Any]],
    scratch: bool,
) -> Path:
    """Create a folder below the first run, named DATA-PROTOCOL plus any settings that are not the defaults.

    Args:
        word: The protocol.
        data: The skeleton file.
        runs: The encoders: the first, and those that are fused with it.
        split: Test split; None for the default.
        train_split: Training split; None for the default.
        changes: Changes to the recipe of each encoder.
        scratch: Whether encoders start from random weights.

    Returns:
        The folder.

    Raises:
        UsageError: The folder is not writable.
    """
    rest = word + (f"-{split}" if split is not None else "")
    partners = [str(run.path.resolve()) for run in runs[1:]]
    rest += "-fused" if partners else ""
    if partners or train_split is not None or any(changes):
        options = json.dumps([partners, train_split, *map(dict, changes)], sort_keys=True)
        rest += f"-{hashlib.sha256(options.encode()).hexdigest()[:8]}"
    return folder_for(runs[0].path, data, rest + ("-scratch" if scratch else ""))


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Write the results of a protocol as JSON.

    Args:
        folder: Folder of the result.
        result: The results.
    """
    with atomic_write(folder / JSON_NAME) as file:
        file.write(json.dumps(result, indent=1, ensure_ascii=False).encode())


def changes_of(settings: ProtocolSettings, usual: ProtocolSettings) -> dict[str, Any]:
    """Return the settings, by dotted name, that differ from the defaults.

    Args:
        settings: The settings.
        usual: The defaults.
    """
    own, other = dotted(settings.model_dump(mode="json")), dotted(usual.model_dump(mode="json"))
    return {name: value for name, value in own.items() if value != other[name]}


class KeptSubsets:
    """Accuracies of finished random subsets, kept in a file next to the result until all subsets are finished.

    Args:
        folder: Folder of the result.
        of: Everything that the accuracies depend on; accuracies stored with other values are ignored.
    """

    def __init__(self, folder: Path, of: Mapping[str, Any]) -> None:
        self.path = folder / SUBSETS
        # Convert to the form that is read back from JSON.
        self.of = json.loads(json.dumps(of))
        self.top1: dict[str, float] = {}
        try:
            before = json.loads(self.path.read_text(encoding="utf-8"))
            if before["of"] == self.of:
                self.top1 = {str(seed): float(value) for seed, value in before["top1"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            # Missing, or not written by this program: measure all subsets.
            pass

    def get(self, seed: int) -> float | None:
        """Return the accuracy of a subset, or None if it has not been measured."""
        return self.top1.get(str(seed))

    def keep(self, seed: int, top1: float) -> None:
        """Store the accuracy of a subset."""
        self.top1[str(seed)] = top1
        with atomic_write(self.path) as file:
            file.write(json.dumps({"of": self.of, "top1": self.top1}, indent=1).encode())

    def end(self) -> None:
        """Remove the file; the result contains all accuracies."""
        self.path.unlink(missing_ok=True)

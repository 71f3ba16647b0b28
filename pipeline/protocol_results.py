"""Where `skelpipe evaluate --protocol` leaves what it found, and what it keeps of a measurement that is not done."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.evaluate import folder_for
from pose_extraction.files import atomic_write
from recognition.pretraining.encoder import Pretrained
from recognition.protocols.settings import ProtocolSettings
from recognition.resuming import dotted

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
    """Makes a folder below the first run that says what is measured: DATA-PROTOCOL, and more where more was asked for.

    Args:
        word: The protocol.
        data: The skeleton file.
        runs: The encoders, the first and those that are fused with it.
        split: Counted; None for the one that goes without saying.
        train_split: Trained on; None likewise.
        changes: Of each encoder's recipe, what is not the method's.
        scratch: Whether weights are fresh.

    Raises:
        UsageError: Nothing can be written there.
    """
    rest = word + (f"-{split}" if split is not None else "")
    partners = [str(run.path.resolve()) for run in runs[1:]]
    rest += "-fused" if partners else ""
    if partners or train_split is not None or any(changes):
        told = json.dumps([partners, train_split, *map(dict, changes)], sort_keys=True)
        rest += f"-{hashlib.sha256(told.encode()).hexdigest()[:8]}"
    return folder_for(runs[0].path, data, rest + ("-scratch" if scratch else ""))


def changes_of(settings: ProtocolSettings, usual: ProtocolSettings) -> dict[str, Any]:
    """Settings by dotted name that are not the usual ones."""
    own, other = dotted(settings.model_dump(mode="json")), dotted(usual.model_dump(mode="json"))
    return {name: value for name, value in own.items() if value != other[name]}


class KeptSubsets:
    """Accuracies of the seeded subsets that are done, in a file beside the result, until all of them are.

    Args:
        folder: Of the result.
        of: What they were measured on and with; of anything else they are not taken.
    """

    def __init__(self, folder: Path, of: Mapping[str, Any]) -> None:
        self.path = folder / SUBSETS
        # As the file has it.
        self.of = json.loads(json.dumps(of))
        self.top1: dict[str, float] = {}
        try:
            before = json.loads(self.path.read_text(encoding="utf-8"))
            if before["of"] == self.of:
                self.top1 = {str(seed): float(value) for seed, value in before["top1"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            # There is none, or it was not written here: all subsets are measured.
            pass

    def get(self, seed: int) -> float | None:
        """The accuracy of a subset; None of one that is not done."""
        return self.top1.get(str(seed))

    def keep(self, seed: int, top1: float) -> None:
        """Adds a subset."""
        self.top1[str(seed)] = top1
        with atomic_write(self.path) as file:
            file.write(json.dumps({"of": self.of, "top1": self.top1}, indent=1).encode())

    def end(self) -> None:
        """Takes the file away: the result has it all."""
        self.path.unlink(missing_ok=True)

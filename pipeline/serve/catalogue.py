"""The runs that clients can choose from, by an id that contains no path."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.serve.messages import RunFacts
from pose_extraction.errors import UsageError
from recognition.inference.exported_run import load_exported
from recognition.packed import FOLDER
from recognition.run_folder import is_encoder
from recognition.run_names import located, name_of, newest_or_shipped_run
from recognition.runs import detector_file, is_exported, run_file


@dataclass(frozen=True)
class RunEntry:
    """A run.

    Args:
        id: Its id for clients.
        path: Its directory or file.
        facts: What a worker has found out about it; None before.
    """

    id: str
    path: Path
    facts: RunFacts | None = None


class Catalogue:
    """The runs of a service.

    Args:
        paths: Runs in order; the first one is the default.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._entries: dict[str, RunEntry] = {}
        self.default = ""
        for path in paths:
            entry = self.add(path)
            self.default = self.default or entry.id

    def add(self, path: Path, name: str | None = None) -> RunEntry:
        """Add a run; its id is its name, with a number if there is another one of this name.

        Args:
            path: The run.
            name: Its name; None for that of its directory.
        """
        known = next((entry for entry in self._entries.values() if entry.path == path), None)
        if known is not None:
            return known
        if name is None:
            name = name_of(path)
        number, chosen = 2, name
        while chosen in self._entries:
            chosen, number = f"{name}-{number}", number + 1
        self._entries[chosen] = RunEntry(chosen, path)
        return self._entries[chosen]

    def remove(self, run: str) -> None:
        """Remove a run that is not the default."""
        assert run != self.default
        self._entries.pop(run, None)

    def describe(self, facts: RunFacts) -> None:
        """Record what a worker has found out about a run."""
        for entry in list(self._entries.values()):
            if entry.path == facts.run:
                self._entries[entry.id] = replace(entry, facts=facts)

    def get(self, run: str | None) -> RunEntry:
        """Return a run; None for the default one.

        Raises:
            UsageError: There is no run with this id.
        """
        entry = self._entries.get(run or self.default)
        if entry is None:
            raise UsageError(f"run {run}: is not a run of this service; choose one of {', '.join(self._entries)}")
        return entry

    def entries(self) -> list[RunEntry]:
        """Return all runs."""
        return list(self._entries.values())

    def summary(self) -> str:
        """Return the ids of all runs, the default one first, in one line."""
        others = [run for run in self._entries if run != self.default]
        return ", ".join([f"{self.default} (default)", *others])

    def as_list(self) -> list[dict[str, Any]]:
        """Return all runs for clients."""
        return [
            {
                "id": entry.id,
                "name": entry.id,
                "classes": list(entry.facts.classes) if entry.facts else [],
                "backbone": (entry.facts.backbone or None) if entry.facts else None,
                "default": entry.id == self.default,
                "exported": is_exported(entry.path),
                "shipped": entry.path.parent == FOLDER,
                "unknown": entry.facts.unknown if entry.facts else None,
                "error": entry.facts.error if entry.facts else None,
            }
            for entry in self._entries.values()
        ]


def check_runs(names: Sequence[str]) -> tuple[Path, ...]:
    """Return the paths of runs, after checking that they exist.

    Args:
        names: Run directories, files of weights, folders of exported recognizers, or names of recognizers in the
            package; none for the newest run in runs/, or else the recognizer of the package.

    Raises:
        UsageError: There is no run.
        WeightsError: A run does not exist, or has no weights.
    """
    paths = [located(name) for name in names] or [newest_or_shipped_run(wanted=_predicts_actions)]
    for path in paths:
        if is_exported(path):
            load_exported(path)
        elif detector_file(path) is None:
            run_file(path)
    return tuple(paths)


def _predicts_actions(run: Path) -> bool:
    return not is_encoder(run) or detector_file(run) is not None

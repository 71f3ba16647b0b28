"""Failures and notes of an extraction: on the console, and in the logs of its folder."""

from pathlib import Path

from rich.console import Console

from pipeline.extract.ledger import ErrorLog, NoteLog
from pipeline.reporting.notes import NoteSummary


class Failures:
    """Records failures, and reports each one immediately on the console and in the log.

    Args:
        log: Log file.
        console: Console for messages.
    """

    def __init__(self, log: ErrorLog, console: Console) -> None:
        self.failed: dict[str, str] = {}
        self.withdrawn = False
        self._log = log
        self._console = console

    def add(self, file: str, cause: str) -> None:
        self.failed[file] = cause
        self.say(f"failed: {cause}")
        try:
            self._log.add(file, cause)
        except OSError as error:
            # A full disk must not end the run: other videos may need less space.
            self.say(f"{self._log.path}: cannot write the file ({error.strerror})")

    def settle(self, tried: set[str], below: Path | None = None) -> None:
        try:
            self._log.settle(tried, below)
        except OSError as error:
            self.say(f"{self._log.path}: cannot write the file ({error.strerror})")

    def say(self, text: str, style: str | None = "red") -> None:
        self._console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)


class Notes:
    """Notes on the videos of a run: into a file at once, and grouped on the console at the end.

    Args:
        log: File of the notes.
        failures: Prints messages.
    """

    def __init__(self, log: NoteLog, failures: Failures) -> None:
        self._log = log
        self._failures = failures
        self._summary = NoteSummary()
        self._tried: set[str] = set()

    def keep(self, video: str, notes: list[str]) -> None:
        """Takes the notes on a video from its up-to-date result, for the file."""
        self._tried.add(video)
        if notes:
            self._log.keep(video, notes)

    def add(self, video: str, notes: list[str]) -> None:
        """Takes the notes on a video that was extracted."""
        self._tried.add(video)
        if not notes:
            return
        self._summary.add(video, notes)
        try:
            self._log.add(video, [str(note) for note in notes])
        except OSError as error:
            self._failures.say(f"{self._log.path}: cannot write the file ({error.strerror})")

    def close(self) -> None:
        """Prints the notes, and removes outdated ones from the file."""
        for line in self._summary.lines(self._log.path):
            self._failures.say(line, style="yellow")
        try:
            self._log.settle(self._tried)
        except OSError as error:
            self._failures.say(f"{self._log.path}: cannot write the file ({error.strerror})")

"""Notes on many videos or files: one line per kind of note."""

import json
from collections.abc import Sequence
from pathlib import Path

from pose_extraction.video.notes import kind_of

# Names in the line of a kind.
NAMED = 3


class NoteSummary:
    """Collects the notes on videos or files, and states each kind once.

    A public data set may have the same peculiarity in every clip; a line per clip would hide all other messages.

    Args:
        noun: What the notes are on, in the plural.
    """

    def __init__(self, noun: str = "videos") -> None:
        self._noun = noun
        # (video, note) by kind.
        self._by_kind: dict[str, list[tuple[str, str]]] = {}

    def add(self, video: str, notes: Sequence[str]) -> None:
        """Add the notes on a video."""
        for note in notes:
            self._by_kind.setdefault(kind_of(note), []).append((video, str(note)))

    def lines(self, details: Path | None = None) -> list[str]:
        """Return one line per kind, for the screen.

        Args:
            details: File that contains the notes on each video; None if there is none.
        """
        place = "" if details is None else f"; details in {details}"
        lines = []
        for kind, notes in self._by_kind.items():
            videos = list(dict.fromkeys(video for video, _ in notes))
            if len(notes) == 1:
                lines.append(f"note: {videos[0]}: {notes[0][1]}")
            elif len(videos) == 1:
                lines.append(f"note: {videos[0]}: {kind} ({len(notes)} times, first: {notes[0][1]}){place}")
            else:
                named = ", ".join(videos[:NAMED]) + (", ..." if len(videos) > NAMED else "")
                lines.append(f"note: {len(videos)} {self._noun}: {kind} ({named}){place}")
        return lines

    def as_json_lines(self) -> str:
        """Return the notes on each video as one JSON object per line, with `file` and `notes`."""
        by_video: dict[str, list[str]] = {}
        for notes in self._by_kind.values():
            for video, text in notes:
                by_video.setdefault(video, []).append(text)
        return "".join(json.dumps({"file": video, "notes": notes}) + "\n" for video, notes in by_video.items())

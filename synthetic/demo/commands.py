"""Commands for display, as they can be typed in the current folder."""

import sys
from pathlib import Path


def skelpipe(*words: str) -> list[str]:
    """Return the words of a `skelpipe` command, with the program's path relative to the current folder if possible."""
    command = Path(sys.executable).with_name("skelpipe")
    own = command.relative_to(Path.cwd()) if command.is_relative_to(Path.cwd()) else command
    return [str(own), *words]


def own_videos() -> list[str]:
    """Return the commands for the user's own videos, one per line, with comments."""
    lines = [
        (skelpipe("extract", "videos/"), "videos/ACTION/*.mp4; downloads weights once"),
        (skelpipe("train"), "size chosen for your clips and your machine"),
        (skelpipe("predict", "new_videos/"), "with the newest run in runs/"),
    ]
    typed = [(" ".join(words), note) for words, note in lines]
    width = max(len(command) for command, _ in typed)
    return [f"{command:{width}}  # {note}" for command, note in typed]

"""Commands as they would be typed here."""

import sys
from pathlib import Path


def skelpipe(*words: str) -> list[str]:
    """The words of a `skelpipe` command, whose program is named as it can be called from this folder."""
    command = Path(sys.executable).with_name("skelpipe")
    own = command.relative_to(Path.cwd()) if command.is_relative_to(Path.cwd()) else command
    return [str(own), *words]


def own_videos() -> list[str]:
    """What to type for one's own videos, a line each, with what it does."""
    lines = [
        (skelpipe("extract", "videos/"), "videos/ACTION/*.mp4; weights are downloaded once"),
        (skelpipe("train"), "sized to your clips and your machine"),
        (skelpipe("predict", "new_videos/"), "by the newest run below runs/"),
    ]
    typed = [(" ".join(words), note) for words, note in lines]
    width = max(len(command) for command, _ in typed)
    return [f"{command:{width}}  # {note}" for command, note in typed]

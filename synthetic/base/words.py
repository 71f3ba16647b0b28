"""Words of the command lines that train weights for the package."""

import shlex
from collections.abc import Sequence
from pathlib import Path


def command_of(module: str, words: Sequence[str]) -> str:
    """Return a command without the folders of this machine, for a model card.

    Args:
        module: Module that the command runs.
        words: Its arguments. Absolute paths, alone or after the last "=", are shortened to the file name.
    """
    return shlex.join(["python", "-m", module, *map(_without_folder, words)])


def _without_folder(word: str) -> str:
    name, equals, value = word.rpartition("=")
    return f"{name}{equals}{Path(value).name}" if Path(value).is_absolute() else word

"""The project's exceptions, and the words for numbers in messages.

Each message names the value, the place and the remedy. The CLI converts exceptions into exit codes.
"""


class SkelpipeError(Exception):
    """Any error that the user can fix: bad input, a missing file, or incompatible settings."""


class UsageError(SkelpipeError):
    """The command line or a setting is invalid (exit status 2)."""


class VideoError(SkelpipeError):
    """A video cannot be read, or not completely."""


class WeightsError(SkelpipeError):
    """A checkpoint or network file is missing, damaged, unsafe or incompatible with its network."""


class AnnotationError(SkelpipeError):
    """A skeleton file or a label table is malformed."""


class EmptyClipError(AnnotationError):
    """A clip is valid, but contains no person."""


class BackendError(SkelpipeError):
    """A requested device, backend or optional dependency cannot be used on this machine."""


class TrainingError(SkelpipeError):
    """A training run cannot continue or be resumed."""


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """A number with the words that go with it: "1 clip", "2 clips", "1 clip is empty", "2 clips are empty".

    Args:
        number: The number.
        singular: Words for 1.
        plural: Words for other numbers; none: `singular` with an "s".
    """
    return f"{number} {singular if number == 1 else plural or f'{singular}s'}"


def installing(extra: str) -> str:
    """Return the command that installs an extra; skelpipe is not on a package index."""
    return f"pip install '.[{extra}]' in the checkout of skelpipe"

"""The project's own errors.

Each message names the value, the place and the remedy; the CLI turns them into exit codes.
"""


class SkelpipeError(Exception):
    """Anything that a user can mend: bad input, a missing file, an impossible combination of settings."""


class UsageError(SkelpipeError):
    """The command line or a setting is wrong (exit status 2)."""


class VideoError(SkelpipeError):
    """A video cannot be read, or not to its end."""


class WeightsError(SkelpipeError):
    """A checkpoint or network file is missing, damaged, hostile or does not fit its network."""


class AnnotationError(SkelpipeError):
    """A skeleton pickle or a table of labels is malformed."""


class EmptyClipError(AnnotationError):
    """Nobody was found in a clip, which is otherwise as it should be."""


class BackendError(SkelpipeError):
    """A device, backend or optional dependency that was asked for cannot be used here."""


class TrainingError(SkelpipeError):
    """A training run cannot go on, or not from where it was left."""

"""Checks of what `skelpipe robustness` was given, before anything that takes seconds to load."""

from collections.abc import Sequence
from pathlib import Path

from pose_extraction.errors import UsageError
from pose_extraction.formats.shards.manifest import is_data_set
from recognition.robustness.conditions import ESTIMATOR_ERRORS, ESTIMATORS, MEASURES
from recognition.runs import run_file


def split_method(word: str) -> tuple[str | None, Path]:
    """Split a run of the command line into method and path: `METHOD=RUN`; the method of `RUN` alone is None."""
    method, equals, rest = word.partition("=")
    if equals and not Path(word).exists():
        return method, Path(rest)
    return None, Path(word)


def check_usage(runs: Sequence[str], data: Sequence[Path], families: Sequence[str]) -> None:
    """Check that runs, skeleton files and families of damage exist.

    Args:
        runs: Run directories or files of weights, or `METHOD=RUN`.
        data: Skeleton files.
        families: Selected families; empty for all.

    Raises:
        UsageError: A family is unknown or requires a second file, or the first file does not exist.
        WeightsError: A run does not exist.
    """
    unknown = [name for name in families if name not in MEASURES]
    if unknown:
        raise UsageError(f"--only {unknown[0]}: unknown family of perturbations; choose from {', '.join(MEASURES)}")
    of_others = [name for name in families if name in (ESTIMATORS, ESTIMATOR_ERRORS)]
    if of_others and len(data) < 2:
        raise UsageError(
            f"--only {of_others[0]}: requires a second file, with the same clips by another estimator (--data)"
        )
    for word in runs:
        run_file(split_method(word)[1])
    if data and not is_data_set(data[0]):
        raise UsageError(f"{data[0]}: file not found; specify the skeleton file with --data")

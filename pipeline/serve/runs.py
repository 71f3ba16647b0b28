"""Which runs a service offers, checked before anything heavy is imported."""

from collections.abc import Sequence
from pathlib import Path

from recognition.runs import detector_file, is_encoder, located, newest_or_shipped_run, run_file


def check_runs(names: Sequence[str]) -> tuple[Path, ...]:
    """Return the paths of runs, after checking that they exist.

    Args:
        names: Run directories, .pt files, or names of recognizers in the package; none for the newest run in runs/, or
            else the recognizer of the package.

    Raises:
        UsageError: There is no run.
        WeightsError: A run does not exist, or has no weights.
    """
    paths = [located(name) for name in names] or [newest_or_shipped_run(wanted=_predicts_actions)]
    for path in paths:
        if detector_file(path) is None:
            run_file(path)
    return tuple(paths)


def _predicts_actions(run: Path) -> bool:
    return not is_encoder(run) or detector_file(run) is not None

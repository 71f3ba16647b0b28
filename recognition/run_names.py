"""Names and addresses of runs: paths, weights of the package, hubs, and the newest run of a folder."""

import difflib
from collections.abc import Callable
from pathlib import Path

from pose_extraction.errors import UsageError
from recognition import hub
from recognition.packed import BASE, EVERYDAY, FOLDER, is_packed, shipped, shipped_names
from recognition.run_folder import BEST, LAST, saved

# Folder of the run directories.
RUNS = Path("runs")
# Most runs of that folder that a message lists.
_MOST_LISTED = 5


def located(run: str | Path) -> Path:
    """Return the path of a run.

    Args:
        run: A path; or, if there is nothing at this path, the name of weights of the package. hf://OWNER/NAME, with or
            without @REVISION, for a run on a hub, which is downloaded into the cache.

    Raises:
        WeightsError: There is no such run on the hub, or it cannot be downloaded.
    """
    address = hub.parse(run)
    if address is not None:
        return hub.fetch(address)
    path = Path(run)
    return path if path.exists() else shipped(str(run)) or path


def recorded(run: str) -> str:
    """Return how settings record a run: its absolute path, or its address on a hub with the revision."""
    path = located(run)
    return str(hub.address_of(path) or path.resolve())


def results_folder(weights: Path) -> Path:
    """Return the folder below which results of a run are stored.

    It is the run's directory. The cache of a hub and the installed package are not the user's: for their weights, it is
    a folder in `RUNS`.
    """
    address = hub.address_of(weights)
    if address is None:
        return RUNS / weights.stem if weights.resolve().parent == FOLDER.resolve() else weights.parent
    return RUNS / f"{address.repo.replace('/', '--')}-{(address.revision or '')[:8]}"


def name_of(path: Path) -> str:
    """Return the name of a run from the path of its directory or of one of its files of weights."""
    address = hub.address_of(path)
    if address is not None:
        return address.repo.partition("/")[2]
    # The package's weights have names of their own; files of runs are called alike.
    return path.stem if is_packed(path) else path.parent.name if path.is_file() else path.name


def shown(path: Path) -> str:
    """Return how messages name a run: weights of the package by their name, others by path or address."""
    return name_of(path) if is_packed(path) else hub.described(path)


def meant(run: str | Path, folder: Path = RUNS, *, wanted: Callable[[Path], bool] = lambda _: True) -> str | None:
    """Return a question about the run that a mistyped name resembles; None for other paths, or if it resembles none.

    Args:
        run: What was given; there is no such run.
        folder: Folder that contains the runs.
        wanted: Filter for run directories and files of the package's weights.
    """
    if not _may_be_name(run, folder):
        return None
    known = {path.name.lower(): str(path) for path in _saved_runs(folder) if wanted(path)}
    for name in shipped_names():
        path = shipped(name)
        if path is None or not wanted(path):
            continue
        use = "initial weights for `skelpipe train --init`" if name == BASE else "a recognizer of the package"
        known[name] = f"{name}, {use}"
    near = difflib.get_close_matches(Path(run).name.lower(), known, n=1)
    return f"did you mean {known[near[0]]}?" if near else None


def no_such_run(run: str | Path, folder: Path = RUNS) -> str:
    """Return what to do where there is no such run: the end of a message.

    Args:
        run: What was given.
        folder: Folder that contains the runs.
    """
    question = meant(run, folder)
    if question is not None:
        return question
    if not _may_be_name(run, folder):
        return "pass a directory of `skelpipe train`, or a file of weights"
    runs = sorted(str(path) for path in _saved_runs(folder))
    listed = f" ({', '.join(runs)})" if 0 < len(runs) <= _MOST_LISTED else ""
    recognizers = ", ".join(name for name in shipped_names() if name != BASE)
    return (
        f"pass a directory of `skelpipe train`{listed}, a file of weights, or the name of weights of the package: "
        f"{recognizers}, or only for `skelpipe train --init` {BASE}"
    )


def _may_be_name(run: str | Path, folder: Path) -> bool:
    """Return whether a path is the name of a run, with or without the folder that contains the runs."""
    return Path(run).parent in (Path(), folder)


def _saved_runs(folder: Path) -> list[Path]:
    return [run for run in folder.glob("*") if saved(run, BEST) or saved(run, LAST)]


def newest_run(folder: Path = RUNS, *, wanted: Callable[[Path], bool] = lambda _: True) -> Path:
    """Return the run directory that was saved most recently.

    Args:
        folder: Folder that contains the runs.
        wanted: Filter for run directories.

    Raises:
        UsageError: There is no such run.
    """
    found = [path for run in folder.glob("*") if (path := saved(run, LAST)) is not None and wanted(run)]
    if not found:
        raise UsageError(f"no run in {folder}/; train one with `skelpipe train`, or specify one")
    return max(found, key=lambda path: path.stat().st_mtime_ns).parent


def newest_or_shipped_run(folder: Path = RUNS, *, wanted: Callable[[Path], bool] = lambda _: True) -> Path:
    """Return the newest run; without any, the recognizer of everyday actions that the package contains.

    Args:
        folder: Folder that contains the runs.
        wanted: Filter for run directories.

    Raises:
        UsageError: There is neither.
    """
    try:
        return newest_run(folder, wanted=wanted)
    except UsageError:
        everyday = shipped(EVERYDAY)
        if everyday is None:
            raise
        return everyday

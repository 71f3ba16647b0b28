"""`skelpipe merge`: the skeleton files of single videos become one data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.ntu import applicable_splits
from pose_extraction.annotations import merge_files
from pose_extraction.errors import AnnotationError, UsageError
from pose_extraction.files import held
from pose_extraction.pickles import write_pickle


@dataclass(frozen=True, slots=True)
class Merged:
    """What was merged.

    Args:
        path: The data set that was written.
        files: Number of files in it.
        clips: Number of clips in it.
        damaged: Files that were left out, each with the reason.
    """

    path: Path
    files: int
    clips: int
    damaged: list[tuple[Path, str]]


def merged_path(folder: Path) -> Path:
    """Where the data set of a folder of skeleton files goes: `skeletons/vitpose` -> `skeletons/vitpose.pkl`."""
    folder = folder.absolute()
    # Not with_suffix: a name such as rtmpose-m.v2 has a dot of its own.
    return folder.parent / f"{folder.name}.pkl"


def skeleton_files(path: Path) -> list[Path]:
    """The skeleton files of a folder and all below it, sorted, or the one file that `path` is.

    Raises:
        UsageError: There is none.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UsageError(f"{path}: no such file or folder; give the folder of an estimator, such as skeletons/vitpose")
    files = sorted(file for file in path.rglob("*.pkl") if not file.name.startswith(".") and file.is_file())
    if not files:
        raise UsageError(f"{path}: no skeleton files in this folder; extract some videos first")
    return files


def merge(paths: Sequence[Path], out: Path | None = None) -> Merged:
    """Merges the skeleton files of folders, or of several machines, into one data set.

    A file that is damaged is left out and named in the result, so that one clip does not hold up the others. Doing it
    twice gives the same bytes.

    Args:
        paths: Folders (`skeletons/vitpose`) or skeleton files.
        out: The data set to write; None for the folder's own, which takes exactly one path.

    Raises:
        UsageError: No file was found, or `out` is needed.
        AnnotationError: A clip is in two files, or no file could be read.
    """
    if out is None:
        if len(paths) != 1 or not paths[0].is_dir():
            raise UsageError(
                f"cannot tell where to write what is merged from {', '.join(map(str, paths)) or 'nothing'}; name "
                "a file with --out"
            )
        out = merged_path(paths[0])
    # Held from the listing on: of two that merge at once, the later one finds all that the earlier one found.
    with held(out):
        return _merge(paths, out)


def _merge(paths: Sequence[Path], out: Path) -> Merged:
    files = list(
        dict.fromkeys(file for path in paths for file in skeleton_files(path) if file.absolute() != out.absolute())
    )
    damaged: list[tuple[Path, str]] = []
    data = merge_files(files, damaged)
    if len(damaged) == len(files):
        raise AnnotationError(f"none of {len(files)} skeleton files could be read; the first: {damaged[0][1]}")
    data["split"] = applicable_splits(data["split"])
    write_pickle(out, data)
    return Merged(out, len(files) - len(damaged), len(data["annotations"]), damaged)

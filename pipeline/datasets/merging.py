"""`skelpipe merge`: merges the skeleton files of single videos into one data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.inputs.ntu import applicable_splits
from pose_extraction.errors import AnnotationError, UsageError
from pose_extraction.files import held
from pose_extraction.formats.annotations import merge_files
from pose_extraction.formats.pickles import write_pickle


@dataclass(frozen=True, slots=True)
class Merged:
    """Result of a merge.

    Args:
        path: The merged data set.
        files: Number of merged files.
        clips: Number of clips in the data set.
        damaged: Files that were skipped, each with the reason.
    """

    path: Path
    files: int
    clips: int
    damaged: list[tuple[Path, str]]


def merged_path(folder: Path) -> Path:
    """Path of the data set of a folder of skeleton files: `skeletons/vitpose` -> `skeletons/vitpose.pkl`."""
    folder = folder.absolute()
    # Not with_suffix: a name such as rtmpose-m.v2 contains a dot.
    return folder.parent / f"{folder.name}.pkl"


def skeleton_files(path: Path) -> list[Path]:
    """Skeleton files in a folder and its subfolders, sorted; or the single file `path`.

    Raises:
        UsageError: There are no skeleton files.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UsageError(f"{path}: no such file or folder; give the folder of an estimator, such as skeletons/vitpose")
    files = sorted(file for file in path.rglob("*.pkl") if not file.name.startswith(".") and file.is_file())
    if not files:
        raise UsageError(f"{path}: the folder contains no skeleton files; run `skelpipe extract` first")
    return files


def merge(paths: Sequence[Path], out: Path | None = None) -> Merged:
    """Merges the skeleton files of one or several folders into one data set.

    Damaged files are skipped and listed in the result, so that one clip does not block the others. Merging the same
    files again gives the same bytes.

    Args:
        paths: Folders (`skeletons/vitpose`) or skeleton files.
        out: The data set to write; None for `merged_path`, which requires exactly one folder.

    Raises:
        UsageError: There is no file, or `out` is required.
        AnnotationError: Two files contain the same clip, or no file can be read.
    """
    if out is None:
        for path in paths:
            if not path.exists():
                raise UsageError(f"{path}: no such file or folder; give a folder such as skeletons/vitpose")
        if len(paths) != 1 or not paths[0].is_dir():
            raise UsageError(
                f"an output file is required to merge {', '.join(map(str, paths)) or 'nothing'}; give one with --out"
            )
        out = merged_path(paths[0])
    # Locked before listing the files: of two concurrent merges, the later one includes all files of the earlier one.
    with held(out):
        return _merge(paths, out)


def _merge(paths: Sequence[Path], out: Path) -> Merged:
    files = list(
        dict.fromkeys(file for path in paths for file in skeleton_files(path) if file.absolute() != out.absolute())
    )
    damaged: list[tuple[Path, str]] = []
    data = merge_files(files, damaged)
    if len(damaged) == len(files):
        raise AnnotationError(f"none of {len(files)} skeleton files could be read; first error: {damaged[0][1]}")
    data["split"] = applicable_splits(data["split"])
    write_pickle(out, data)
    return Merged(out, len(files) - len(damaged), len(data["annotations"]), damaged)

"""`skelpipe merge`: merges skeleton files into one data set, in one file or in shards."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.datasets.shard_merging import ShardMerge
from pipeline.inputs.ntu import applicable_splits
from pipeline.reporting.notes import NoteSummary
from pose_extraction.errors import AnnotationError, UsageError
from pose_extraction.files import atomic_write, held
from pose_extraction.formats.annotations import merge_files
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.formats.shards.manifest import SUFFIX, is_data_set, is_shards

PICKLE, PARQUET = "pickle", "parquet"
KINDS = {PICKLE: ".pkl", PARQUET: SUFFIX}


@dataclass(frozen=True, slots=True)
class Merged:
    """Result of a merge.

    Args:
        path: The merged data set.
        files: Number of merged files and data sets.
        clips: Number of clips in the data set.
        damaged: Files, or shards of data sets, that were skipped, each with the reason.
        notes: What was assumed about files of other programs, one line per kind. The file with the details is named
            after the data set, with `.notes.jsonl`.
    """

    path: Path
    files: int
    clips: int
    damaged: list[tuple[Path, str]]
    notes: list[str]


def merged_path(source: Path, to: str = PICKLE) -> Path:
    """Path of the data set of a folder of skeleton files, or of a skeleton file in the other format.

    Args:
        source: `skeletons/vitpose` gives `skeletons/vitpose.pkl` or `skeletons/vitpose.parquet`.
        to: `pickle` or `parquet`.
    """
    source = source.absolute()
    # Not with_suffix for a folder of files: a name such as rtmpose-m.v2 contains a dot.
    name = source.stem if is_data_set(source) else source.name
    return source.parent / f"{name}{KINDS[to]}"


def skeleton_files(path: Path) -> list[Path]:
    """Skeleton files and data sets in shards in a folder and its subfolders, sorted; or `path` if it is one of them.

    Raises:
        UsageError: There are no skeleton files.
    """
    if is_data_set(path):
        return [path]
    if not path.is_dir():
        raise UsageError(f"{path}: no such file or folder; check the name")
    found = [file for file in path.rglob("*.pkl") if file.is_file()]
    found += filter(is_shards, path.rglob(f"*{SUFFIX}"))
    files = sorted(file for file in found if not file.name.startswith("."))
    if not files:
        raise UsageError(f"{path}: the folder contains no skeleton files; run `skelpipe extract` first")
    return files


def merge(paths: Sequence[Path], out: Path | None = None, *, to: str | None = None) -> Merged:
    """Merges the skeleton files of one or several folders into one data set.

    Damaged files are skipped and listed in the result, so that one clip does not block the others. Merging the same
    files again gives the same bytes. A data set in shards that exists keeps its clips; only new ones are written.

    Args:
        paths: Folders (`skeletons/vitpose`), skeleton files or data sets in shards.
        out: The data set to write; None for a name next to the only input, see `merged_path`.
        to: `pickle` for one file, `parquet` for a folder of shards; None decides by the suffix of `out`.

    Raises:
        UsageError: There is no file, `out` is required, or `out` and `to` contradict each other.
        AnnotationError: Two files contain the same clip, or no file can be read.
    """
    if to not in (None, *KINDS):
        raise UsageError(f"--to {to}: unknown format; choose pickle or parquet")
    if out is None:
        out = _default_out(paths, to)
    elif to is not None and (out.suffix == SUFFIX) != (to == PARQUET):
        raise UsageError(f"--to {to} and --out {out}: only shards ({PARQUET}) end in {SUFFIX}; change one of the two")
    # Locked before listing the files: of two concurrent merges, the later one includes all files of the earlier one.
    with held(out):
        return _merge_to_shards(paths, out) if out.suffix == SUFFIX else _merge(paths, out)


def _default_out(paths: Sequence[Path], to: str | None) -> Path:
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path}: no such file or folder; check the name")
    if len(paths) == 1 and (to is not None or not is_data_set(paths[0])):
        return merged_path(paths[0], to or PICKLE)
    raise UsageError(
        f"an output file is required to merge {', '.join(map(str, paths)) or 'nothing'}; give one with --out"
    )


def _merge(paths: Sequence[Path], out: Path) -> Merged:
    files = list(
        dict.fromkeys(file for path in paths for file in skeleton_files(path) if file.absolute() != out.absolute())
    )
    damaged: list[tuple[Path, str]] = []
    notes = NoteSummary("files")
    data = merge_files(files, damaged, lambda path, note: notes.add(str(path), [note]))
    _refuse_nothing(len(data["annotations"]), files, damaged)
    data["split"] = applicable_splits(data["split"])
    write_pickle(out, data)
    # A data set in shards counts as read if one of its shards could be.
    unread = {path for path, _ in damaged if not is_shards(path)}
    return Merged(out, len(files) - len(unread), len(data["annotations"]), damaged, _written(notes, out))


def _merge_to_shards(paths: Sequence[Path], out: Path) -> Merged:
    files = list(dict.fromkeys(file for path in paths for file in skeleton_files(path)))
    others = [file for file in files if file.absolute() != out.absolute()]
    notes = NoteSummary("files")
    # Named as an input, the data set is checked completely.
    merging = ShardMerge(out, verify=len(others) < len(files), tell=lambda path, note: notes.add(str(path), [note]))
    for file in others:
        merging.add(file)
    _refuse_nothing(merging.clips, files, merging.damaged)
    folders = [path for path in paths if path.is_dir() and not is_shards(path)]
    clips = merging.finish(folders, single=len(others) == 1)
    unread = {path for path, _ in merging.damaged if not is_shards(path)}
    return Merged(out, len(files) - len(unread), clips, merging.damaged, _written(notes, out))


def _written(notes: NoteSummary, out: Path) -> list[str]:
    """Write the notes on all files next to the data set, if there are any; return one line per kind."""
    details = out.with_name(f"{out.name}.notes.jsonl")
    if not notes.lines():
        # Those of an earlier merge describe another content.
        details.unlink(missing_ok=True)
        return []
    with atomic_write(details) as file:
        file.write(notes.as_json_lines().encode())
    return notes.lines(details)


def _refuse_nothing(clips: int, files: Sequence[Path], damaged: Sequence[tuple[Path, str]]) -> None:
    if not clips and damaged:
        raise AnnotationError(f"none of {len(files)} skeleton files could be read; first error: {damaged[0][1]}")

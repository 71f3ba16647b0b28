"""`skelpipe merge --to parquet`: adds skeleton files and data sets to a data set in shards."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.inputs.ntu import NTU_SPLITS, applicable_splits
from pose_extraction.errors import AnnotationError, counted
from pose_extraction.files import atomic_write
from pose_extraction.formats.annotations import (
    further_entries,
    has_unnamed_labels,
    label_name_of,
    note_unnamed_labels,
    ordered_classes,
)
from pose_extraction.formats.shards.arrow import arrow
from pose_extraction.formats.shards.manifest import SOURCES, is_shards
from pose_extraction.formats.shards.shard_set import ShardSet
from pose_extraction.formats.shards.update import ShardUpdate
from pose_extraction.formats.validation import read_data_set


@dataclass(frozen=True, slots=True)
class _Source:
    """A skeleton file whose clips are in the data set.

    Args:
        size: Its size in bytes.
        modified: Its modification time in nanoseconds.
        label_names: Its class names.
        clips: Ids of its clips.
    """

    size: int
    modified: int
    label_names: tuple[str, ...]
    clips: tuple[str, ...]


class ShardMerge:
    """One merge into a data set in shards.

    Clips that the data set already contains stay, except those of files that no longer exist in one of the merged
    folders. A file that has not changed since the last merge is not read.

    Args:
        out: Folder of the data set.
        verify: Whether the digests of its shards are compared.
        tell: Called with each file of another program and each assumption about it.
    """

    def __init__(self, out: Path, *, verify: bool, tell: Callable[[Path, str], None]) -> None:
        self.damaged: list[tuple[Path, str]] = []
        self._tell = tell
        self._out = out
        self._update = ShardUpdate(out, verify=verify)
        self._before = _read_sources(out) if self._update.before is not None else {}
        self._sources: dict[str, _Source] = {}
        self._orders: set[tuple[str, ...]] = set()
        self._unnamed: list[Path] = []
        self._origin: dict[str, Path] = {}
        # Clips of the present data set that do not stay.
        self._dropped: set[str] = set()
        self._extra: dict[str, Any] = {}
        if self._update.before is not None:
            self.damaged += [(out, sentence) for sentence in self._update.before.damaged]
            self._extra = self._update.before.manifest.extra
            self._update.split_names.update(self._update.before.manifest.empty_splits)

    @property
    def clips(self) -> int:
        """Number of clips that would be in the data set now."""
        before = 0 if self._update.before is None else len(self._update.before)
        return before + len(self._update.labels)

    def add(self, path: Path) -> None:
        """Add the clips of a skeleton file, or of a data set in shards.

        Raises:
            AnnotationError: One of its clips is in another input as well, or cannot be stored.
        """
        if is_shards(path):
            self._adopt(path)
            return
        name = Path(os.path.relpath(path, self._out.parent)).as_posix()
        status = path.stat()
        known = self._before.get(name)
        if (
            known is not None
            and (known.size, known.modified) == (status.st_size, status.st_mtime_ns)
            and all(map(self._update.has, known.clips))
        ):
            for clip in known.clips:
                self._claim(clip, path)
                self._update.keep(clip)
            self._sources[name] = known
        else:
            # Clips of a file that cannot be read any more stay as they are.
            stay = known.clips if known is not None else ()
            if self._read(path, name, status, stay=len(stay)):
                self._dropped.update(stay)
        if name in self._sources:
            self._orders.add(self._sources[name].label_names)

    def finish(self, folders: Sequence[Path], *, single: bool) -> int:
        """Write the data set.

        Args:
            folders: The merged folders, in which files may have been deleted since the last merge.
            single: Whether there was one input only, so that its further entries are those of the data set.

        Returns:
            Number of clips.
        """
        update = self._update
        for name, source in self._before.items():
            if name in self._sources:
                continue
            path = Path(os.path.normpath(self._out.parent / name))
            if any(path.is_relative_to(folder.absolute()) for folder in folders) and not path.exists():
                self._dropped.update(source.clips)
            else:
                self._sources[name] = source
        if update.before is not None:
            rest = [name for name in update.before.names if name not in update.labels and name not in self._dropped]
            for name in rest:
                update.keep(name)
            if rest:
                self._orders.add(update.before.manifest.label_names)
        update.restore_splits(NTU_SPLITS)
        split: dict[str, list[str]] = {}
        for name, labels in update.labels.items():
            for one in labels.splits:
                split.setdefault(one, []).append(name)
        # Also empty ones, as when skeleton files are merged.
        split = {name: [] for name in update.split_names} | split
        superfluous = split.keys() - applicable_splits(split).keys()
        update.drop_splits(superfluous)
        update.split_names -= superfluous
        names = {name for labels in update.labels.values() for name in labels.class_names}
        note_unnamed_labels(self._unnamed, self._orders, self._tell)
        order = self._orders.pop() if len(self._orders) == 1 else None
        update.finish(ordered_classes(names, order), self._extra if single or update.before is not None else {})
        _write_sources(self._out, self._sources)
        return len(update.labels)

    def _adopt(self, path: Path) -> None:
        try:
            other = ShardSet(path, verify=True)
        except AnnotationError as error:
            self.damaged.append((path, str(error)))
            return
        self.damaged += [(path, sentence) for sentence in other.damaged]
        for clip in other.names:
            self._claim(clip, path)
        self._update.adopt(other)
        self._orders.add(other.manifest.label_names)
        self._extra = other.manifest.extra

    def _read(self, path: Path, name: str, status: os.stat_result, *, stay: int) -> bool:
        try:
            data = read_data_set(path, self._tell)
        except AnnotationError as error:
            kept = f"; what the last merge read of it stays: {counted(stay, 'clip')}" if stay else ""
            self.damaged.append((path, f"{error}{kept}"))
            return False
        self._update.split_names.update(data["split"])
        splits: dict[str, list[str]] = {}
        for split, clips in data["split"].items():
            for clip in clips:
                splits.setdefault(clip, []).append(split)
        label_names = data.get("label_names", [])
        self._unnamed += [path] if has_unnamed_labels(data) else []
        for annotation in data["annotations"]:
            clip = annotation["frame_dir"]
            annotation["label_name"] = label_name_of(annotation, label_names)
            self._claim(clip, path)
            self._update.add(annotation, splits.get(clip, ()), f"{path}: clip {clip!r}")
        clips = tuple(annotation["frame_dir"] for annotation in data["annotations"])
        self._sources[name] = _Source(status.st_size, status.st_mtime_ns, tuple(label_names), clips)
        self._extra = further_entries(data)
        return True

    def _claim(self, clip: str, path: Path) -> None:
        if clip in self._origin:
            raise AnnotationError(
                f"clip {clip!r} is in both {self._origin[clip]} and {path}: delete one of the files, or extract the "
                "videos from their common parent folder so that their ids differ"
            )
        self._origin[clip] = path


def _read_sources(out: Path) -> dict[str, _Source]:
    """Return the merged files by path relative to the parent folder; empty if the table cannot be read."""
    pa = arrow()
    try:
        columns = pa.parquet.read_table(out / SOURCES, partitioning=None).to_pydict()
        return dict(_rows(columns))
    except (OSError, pa.ArrowException, KeyError, ValueError):
        # Only needed for speed: all files are read again.
        return {}


def _rows(columns: dict[str, list[Any]]) -> Iterator[tuple[str, _Source]]:
    names = ("file", "bytes", "modified", "label_names", "clips")
    for name, size, modified, label_names, clips in zip(*(columns[key] for key in names), strict=True):
        yield name, _Source(size, modified, tuple(json.loads(label_names)), tuple(clips))


def _write_sources(out: Path, sources: dict[str, _Source]) -> None:
    pa = arrow()
    names = sorted(sources)
    rows = [sources[name] for name in names]
    # A name that is not Unicode text cannot be stored; its file is read again.
    known = [(name, row) for name, row in zip(names, rows, strict=True) if name.isascii() or name.isprintable()]
    table = pa.table(
        {
            "file": pa.array([name for name, _ in known], pa.string()),
            "bytes": pa.array([row.size for _, row in known], pa.int64()),
            "modified": pa.array([row.modified for _, row in known], pa.int64()),
            "label_names": pa.array([json.dumps(row.label_names) for _, row in known], pa.string()),
            "clips": pa.array([list(row.clips) for _, row in known], pa.list_(pa.string())),
        }
    )
    with atomic_write(out / SOURCES) as file:
        pa.parquet.write_table(table, file, compression="zstd")

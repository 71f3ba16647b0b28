"""Change a data set in shards: only shards with changed clips are written."""

import os
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pose_extraction.errors import AnnotationError
from pose_extraction.formats.annotations import label_name_of, ordered_classes
from pose_extraction.formats.shards.arrow import arrow
from pose_extraction.formats.shards.clip_labels import ClipLabels, as_clip_labels, labels_of, read_labels, write_labels
from pose_extraction.formats.shards.manifest import (
    CLIPS,
    INDEX,
    MANIFEST,
    Manifest,
    Shard,
    read_manifest,
    write_manifest,
)
from pose_extraction.formats.shards.plain import to_text
from pose_extraction.formats.shards.rows import DIGEST, Row, row_of
from pose_extraction.formats.shards.shard_set import ShardSet
from pose_extraction.formats.shards.writer import GROUP_BYTES, SHARD_BYTES, ShardWriter


class ShardUpdate:
    """The next version of a data set. The present one is valid until `finish` has written the manifest.

    The caller holds the lock of the folder (`files.held`).

    Args:
        folder: Folder of the data set; created by `finish` if there is none.
        verify: Whether to compare the digests of all present shards.
        shard_bytes: Size at which a new shard is complete.
        group_bytes: Uncompressed size of a row group.

    Attributes:
        before: The present data set; None if there is none.
        labels: Labels of the clips of the next version, by clip.
        split_names: Names of splits of the next version that need not contain a clip.
    """

    def __init__(
        self, folder: Path, *, verify: bool = False, shard_bytes: int = SHARD_BYTES, group_bytes: int = GROUP_BYTES
    ) -> None:
        # An error before any work if it is not installed.
        arrow()
        self.before = ShardSet(folder, verify=verify) if (folder / MANIFEST).is_file() else None
        self.labels: dict[str, ClipLabels] = {}
        self.split_names: set[str] = set()
        self._folder = folder
        self._sizes = {"shard_bytes": shard_bytes, "group_bytes": group_bytes}
        self._kept: set[str] = set()
        self._adopted: list[Shard] = []
        self._writer: ShardWriter | None = None
        self._before_labels: dict[str, ClipLabels] = {} if self.before is None else self.before.clip_labels()
        self._digests: dict[str, bytes] | None = None

    def has(self, name: str) -> bool:
        """Return whether the present data set contains a clip."""
        return name in self._before_labels

    def keep(self, name: str) -> None:
        """Keep a clip of the present data set with its labels."""
        self._take(name, self._before_labels[name])
        self._kept.add(name)

    def add(self, annotation: Mapping[str, Any], splits: Sequence[str], place: str) -> None:
        """Add a clip. If the present data set contains the same joints, only its labels are taken.

        Args:
            annotation: The clip, validated, with a `label_name`.
            splits: Names of its splits.
            place: File and clip, for messages.

        Raises:
            AnnotationError: The clip was added before, or contains something that a shard cannot hold.
        """
        row = row_of(annotation, splits, place)
        name = row["frame_dir"]
        self._take(name, labels_of(annotation, splits))
        if self._digest_before(name) == row[DIGEST]:
            self._kept.add(name)
        else:
            self._write(row)

    def adopt(self, other: ShardSet) -> None:
        """Add all clips of another data set. Its shards are linked or copied, not read.

        Raises:
            AnnotationError: One of its clips was added before.
        """
        labels = other.clip_labels()
        present = {} if self.before is None else {shard.name: shard for shard in self.before.shards}
        self.split_names.update(other.manifest.empty_splits)
        for name in other.names:
            self._take(name, labels[name])
        for number, shard in enumerate(other.shards):
            if shard.name in present:
                self._kept.update(other.names_in(number))
                continue
            for part in (CLIPS, INDEX):
                _link(other.path / part / shard.name, self._folder / part / shard.name)
            self._adopted.append(shard)

    def restore_splits(self, names: Collection[str]) -> None:
        """Give kept clips those of some splits back that no clip of the present data set has any more.

        Args:
            names: Splits that `drop_splits` may have removed, because they did not apply to the data set as it was.
        """
        if self.before is None:
            return
        absent = set(names) - {split for labels in self._before_labels.values() for split in labels.splits}
        if not absent:
            return
        for name, written in zip(self.before.names, self.before.column("splits").to_pylist(), strict=True):
            again = absent.intersection(written or ())
            if again and name in self._kept and name in self.labels:
                labels = self.labels[name]
                self.labels[name] = replace(labels, splits=tuple(sorted({*labels.splits, *again})))

    def drop_splits(self, names: Collection[str]) -> None:
        """Remove splits from the labels of all clips."""
        for name, labels in self.labels.items():
            if not set(names).isdisjoint(labels.splits):
                left = tuple(split for split in labels.splits if split not in names)
                self.labels[name] = replace(labels, splits=left)

    def finish(self, label_names: Iterable[str], extra: Mapping[str, Any] | None = None) -> Manifest:
        """Write the next version: shards that lost clips, the table of labels, and the manifest.

        Args:
            label_names: Class names in the order of their numbers.
            extra: Further entries of the data set.

        Raises:
            AnnotationError: The data set would be empty.
        """
        if not self.labels:
            raise AnnotationError(
                f"{self._folder}: the data set would contain no clips; give skeleton files with clips"
            )
        # Refused before anything is written.
        to_text(dict(extra or {}), str(self._folder))
        stay = self._shards_that_stay()
        new = [] if self._writer is None else self._writer.close()
        empty = self.split_names - {split for labels in self.labels.values() for split in labels.splits}
        shards = *stay, *self._adopted, *new
        manifest = Manifest(shards, tuple(label_names), tuple(sorted(empty)), dict(extra or {}))
        write_labels(self._folder, self.labels, manifest.label_names)
        write_manifest(self._folder, manifest)
        # Damaged shards of the present data set are left for the user.
        names = {shard.name for shard in (*manifest.shards, *self._damaged)}
        for part in (CLIPS, INDEX):
            for path in (self._folder / part).iterdir():
                if path.name not in names:
                    path.unlink()
        return manifest

    @property
    def _damaged(self) -> list[Shard]:
        before = self.before
        return [] if before is None else [shard for shard in before.manifest.shards if shard not in before.shards]

    def _take(self, name: str, labels: ClipLabels) -> None:
        if name in self.labels:
            raise AnnotationError(f"clip {name!r} is in two of the inputs; remove one of the two, or rename it")
        self.labels[name] = labels

    def _digest_before(self, name: str) -> bytes | None:
        if self.before is None:
            return None
        if self._digests is None:
            self._digests = dict(zip(self.before.names, self.before.column(DIGEST).to_pylist(), strict=True))
        return self._digests.get(name)

    def _write(self, row: Row) -> None:
        if self._writer is None:
            self._writer = ShardWriter(self._folder, **self._sizes)
        self._writer.add_row(row)

    def _shards_that_stay(self) -> list[Shard]:
        """Return the present shards whose clips are all kept; kept clips of the others are written again."""
        stay: list[Shard] = []
        if self.before is None:
            return stay
        for number, shard in enumerate(self.before.shards):
            kept = [name in self._kept for name in self.before.names_in(number)]
            if all(kept):
                stay.append(shard)
            elif any(kept):
                for row in self.before.rows(number):
                    if row["frame_dir"] in self._kept:
                        self._write(row)
        return stay


def change_labels(folder: Path, data: Mapping[str, Any]) -> None:
    """Write new labels, groups and splits of a data set; its shards stay as they are.

    The caller holds the lock of the folder (`files.held`).

    Args:
        folder: Folder of the data set.
        data: The data set as `ShardSet.without_arrays` returns it, with new labels.
    """
    splits = _splits_by_clip(data["split"])
    clips = {clip["frame_dir"]: labels_of(clip, splits.get(clip["frame_dir"], ())) for clip in data["annotations"]}
    empty = tuple(sorted(name for name, ids in data["split"].items() if not ids))
    manifest = replace(read_manifest(folder), label_names=tuple(data["label_names"]), empty_splits=empty)
    # Clips of damaged shards keep their labels.
    write_labels(folder, as_clip_labels(read_labels(folder)) | clips, manifest.label_names)
    write_manifest(folder, manifest)


def _splits_by_clip(split: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    splits: dict[str, list[str]] = {}
    for name, clips in split.items():
        for clip in clips:
            splits.setdefault(clip, []).append(name)
    return splits


def write_shards(folder: Path, data: Mapping[str, Any]) -> None:
    """Write a data set to shards. Shards of a data set that is already there stay if they contain the same clips.

    As in a merged skeleton file, clips are sorted by id, and each has the name of its label.

    Args:
        folder: Folder of the data set.
        data: A validated data set: "annotations", "split" and, with labels, "label_names".

    Raises:
        AnnotationError: It contains something that shards cannot hold.
    """
    splits = _splits_by_clip(data["split"])
    update = ShardUpdate(folder)
    update.split_names.update(data["split"])
    label_names = data.get("label_names") or ()
    for annotation in data["annotations"]:
        clip = annotation["frame_dir"]
        named = {**annotation, "label_name": label_name_of(annotation, label_names)}
        update.add(named, splits.get(clip, ()), f"{folder}: clip {clip!r}")
    extra = {name: value for name, value in data.items() if name not in ("annotations", "split", "label_names")}
    names = {name for labels in update.labels.values() for name in labels.class_names}
    update.finish(ordered_classes(names, label_names or None), extra)


def _link(source: Path, target: Path) -> None:
    """Give a file a second place without copying it, where the file system can; shards never change."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)

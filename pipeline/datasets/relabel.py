"""`skelpipe label`: changes labels, splits and groups of extracted skeletons."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.inputs.label_table import LabelTable, TableRow, read_label_table
from pipeline.inputs.ntu import ntu_name
from pose_extraction.errors import AnnotationError
from pose_extraction.files import held
from pose_extraction.formats.annotations import data_set, label_name_of
from pose_extraction.formats.pickles import write_pickle
from pose_extraction.formats.shards.manifest import is_shards
from pose_extraction.formats.shards.shard_set import open_shards
from pose_extraction.formats.shards.update import change_labels
from pose_extraction.formats.storage import write_data_set
from pose_extraction.formats.validation import read_data_set

Parts = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Relabelled:
    """Result of relabelling.

    Args:
        path: The data set that was written.
        matched: Number of clips that the table lists.
        unmatched: Ids of the clips that it does not list; they are unchanged.
        unused: Lines of the table that match no clip, as `line N: file`.
        warnings: Warnings for the user.
        video_files: Number of skeleton files of single videos that were changed as well.
    """

    path: Path
    matched: int
    unmatched: list[str]
    unused: list[str]
    warnings: list[str]
    video_files: int


def relabel(pickle: Path, csv: Path, out: Path | None = None) -> Relabelled:
    """Assigns the labels, splits and groups of a table to the clips of a data set.

    A line matches a clip if its file is the source or the id of the clip, ignoring suffixes, or if one of the two paths
    ends with the other. A table without splits or groups leaves these unchanged.

    Args:
        pickle: The data set, a skeleton file or shards. Shards stay as they are; only their table of labels changes.
        csv: The table.
        out: The file or folder to write; None to change `pickle` in place, and also the files of single videos in the
            folder of the same name, so that the next merge keeps the labels.

    Raises:
        AnnotationError: Data set or table is malformed, or a line matches several clips (or a clip several lines)
            equally well.
    """
    table = read_label_table(csv)
    shards = is_shards(pickle)
    # Without joints, if these stay as they are.
    data = open_shards(pickle).without_arrays() if shards and out is None else read_data_set(pickle)
    rows = match_rows(data["annotations"], table)
    clips = [_identifier(annotation) for annotation in data["annotations"]]
    used = {row.line for row in rows.values()}
    video_files = 0
    if out is None:
        # The files of single videos first: if interrupted in between, running the command again completes the work.
        video_files = _relabel_video_files(pickle.with_suffix(""), table, rows)
    relabelled = _relabelled(data, table, rows)
    if shards and out is None:
        with held(pickle):
            change_labels(pickle, relabelled)
    else:
        write_data_set(out or pickle, relabelled)
    return Relabelled(
        out or pickle,
        len(rows),
        sorted(set(clips) - set(rows)),
        [f"line {row.line}: {row.file}" for row in table.rows if row.line not in used],
        [f"{csv}: group {group!r} is on both sides of a split" for group in table.crossing_groups()],
        video_files,
    )


def _identifier(annotation: Mapping[str, Any]) -> str:
    return annotation["frame_dir"] if "frame_dir" in annotation else annotation["filename"]


def _relabel_video_files(folder: Path, table: LabelTable, rows: Mapping[str, TableRow]) -> int:
    """Changes the files of single videos with matched clips, keeping raw poses; returns the number of changed files."""
    changed = 0
    for path in sorted(folder.rglob("*.pkl")) if folder.is_dir() else []:
        if path.name.startswith("."):
            continue
        data = read_data_set(path)
        if any(_identifier(annotation) in rows for annotation in data["annotations"]):
            write_pickle(path, _relabelled(data, table, rows))
            changed += 1
    return changed


def _relabelled(data: dict[str, Any], table: LabelTable, rows: Mapping[str, TableRow]) -> dict[str, Any]:
    label_names = data.get("label_names", [])
    has_groups = any(row.group is not None for row in table.rows)
    moved: dict[str, TableRow] = {}
    for annotation in data["annotations"]:
        clip = annotation.setdefault("frame_dir", _identifier(annotation))
        row = rows.get(clip)
        annotation["label_name"] = label_name_of(annotation, label_names) if row is None else row.label_name
        if row is not None and has_groups:
            annotation["group"] = row.group
        if row is not None and table.has_splits:
            moved[clip] = row
    split = {name: [clip for clip in clips if clip not in moved] for name, clips in data["split"].items()}
    for clip, row in moved.items():
        for name in row.splits:
            split.setdefault(name, []).append(clip)
    names = {annotation["label_name"] for annotation in data["annotations"]} - {None}
    extra = {key: value for key, value in data.items() if key not in ("split", "annotations", "label_names")}
    if "digest" in extra:
        # The file of a single video: a later extraction with labels from names must not override these.
        extra["labels_from"] = "table"
    # The same set of classes keeps its order, which may be official; other sets are renumbered.
    kept = label_names if names == set(label_names) else None
    return data_set(data["annotations"], {name: clips for name, clips in split.items() if clips}, kept, **extra)


def match_rows(annotations: Sequence[Mapping[str, Any]], table: LabelTable) -> dict[str, TableRow]:
    """Finds the line of the table for each clip.

    Args:
        annotations: The clips.
        table: The table.

    Returns:
        Lines by clip id, for the clips that the table lists.

    Raises:
        AnnotationError: A line matches several clips equally well, or a clip several lines.
    """
    by_name: dict[str, list[tuple[Parts, bool, TableRow]]] = {}
    for row in table.rows:
        for parts, is_shortened in _row_keys(row):
            by_name.setdefault(parts[-1], []).append((parts, is_shortened, row))
    found: dict[str, tuple[bool, TableRow]] = {}
    for annotation in annotations:
        best = _best_rows(annotation, by_name)
        if not best:
            continue
        lines = {row.line for _, row in best}
        if len(lines) > 1:
            raise AnnotationError(
                f"{table.path}: lines {', '.join(map(str, sorted(lines)))} match clip {_identifier(annotation)!r} "
                "equally well; use the path of the clip in the data set"
            )
        found[_identifier(annotation)] = best[0]
    _refuse_shared_rows(annotations, found, table)
    return {clip: row for clip, (_, row) in found.items()}


def _best_rows(
    annotation: Mapping[str, Any], by_name: Mapping[str, list[tuple[Parts, bool, TableRow]]]
) -> list[tuple[bool, TableRow]]:
    """The lines that match a clip's paths best, each with a flag for identical paths."""
    ranked: list[tuple[tuple[bool, int, bool], TableRow]] = []
    for clip_parts, is_id in _clip_keys(annotation):
        for parts, is_shortened, row in by_name.get(clip_parts[-1], []):
            shared = min(len(parts), len(clip_parts))
            # A source is a whole video, and its suffix matters: a.avi is not a.mp4.
            if parts[-shared:] == clip_parts[-shared:] and (is_id or not (row.segment or is_shortened)):
                ranked.append(((parts == clip_parts, shared, is_id), row))
    best = max((rank for rank, _ in ranked), default=None)
    return [(rank[0], row) for rank, row in ranked if rank == best]


def _refuse_shared_rows(
    annotations: Sequence[Mapping[str, Any]], found: dict[str, tuple[bool, TableRow]], table: LabelTable
) -> None:
    """Refuses lines that match several videos, as 1.mp4 matches fight/1 and noFight/1."""
    sources = {
        _identifier(annotation): annotation.get("source") or _identifier(annotation) for annotation in annotations
    }
    by_line: dict[int, list[str]] = {}
    for clip, (_, row) in found.items():
        by_line.setdefault(row.line, []).append(clip)
    for line, clips in by_line.items():
        exact = [clip for clip in clips if found[clip][0]]
        if exact:
            for clip in clips:
                if clip not in exact and sources[clip] != sources[exact[0]]:
                    del found[clip]
        elif len({sources[clip] for clip in clips}) > 1:
            raise AnnotationError(
                f"{table.path}, line {line}: {found[clips[0]][1].file} matches clips {clips[0]!r} and {clips[1]!r} "
                "equally well; use the path of the clip in the data set"
            )


def _row_keys(row: TableRow) -> list[tuple[Parts, bool]]:
    """Paths that a line may refer to, each with a flag for paths without suffix."""
    published = ntu_name(row.file.name)
    return [
        (_parts(f"{row.file}{row.segment}"), False),
        (_parts(f"{row.file.with_suffix('')}{row.segment}"), True),
        *([(_parts(published.text + row.segment), True)] if published else []),
    ]


def _clip_keys(annotation: Mapping[str, Any]) -> list[tuple[Parts, bool]]:
    """Paths of a clip, each with a flag: True for its id, False for its source."""
    keys = [(_parts(_identifier(annotation)), True)]
    if annotation.get("source"):
        keys.append((_parts(annotation["source"]), False))
        keys.append((_parts(str(PurePosixPath(annotation["source"]).with_suffix(""))), False))
    return keys


def _parts(path: str) -> Parts:
    return PurePosixPath(unicodedata.normalize("NFC", path)).parts

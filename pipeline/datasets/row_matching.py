"""Which lines of a label table belong to which clips of a data set, by the paths of videos and the ids of clips."""

import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.inputs.label_table import LabelTable, TableRow
from pipeline.inputs.ntu import ntu_name
from pose_extraction.errors import AnnotationError
from pose_extraction.exchange.video_names import without_suffix
from pose_extraction.formats.annotations import identifier_of

Parts = tuple[str, ...]


def _source_of(annotation: Mapping[str, Any]) -> str:
    """The video of a clip; without one, the id of the clip."""
    source = annotation.get("source")
    return source if isinstance(source, str) and source else identifier_of(annotation)


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
                f"{table.path}: lines {', '.join(map(str, sorted(lines)))} match clip {identifier_of(annotation)!r} "
                "equally well; use the path of the clip in the data set"
            )
        found[identifier_of(annotation)] = best[0]
    _refuse_shared_rows(annotations, found, table)
    return {clip: row for clip, (_, row) in found.items()}


def _best_rows(
    annotation: Mapping[str, Any], by_name: Mapping[str, list[tuple[Parts, bool, TableRow]]]
) -> list[tuple[bool, TableRow]]:
    """The lines that match a clip's paths best, each with a flag for identical paths."""
    ranked: list[tuple[tuple[bool, int, bool], TableRow]] = []
    for clip_parts, is_id in _clip_keys(annotation):
        for parts, is_shortened, row in by_name.get(clip_parts[-1], []):
            # A source is a whole video, and its suffix matters: a.avi is not a.mp4.
            allowed = is_id or not (row.segment or is_shortened)
            rank = _rank(parts, clip_parts, is_id=is_id, allowed=allowed)
            if rank is not None:
                ranked.append((rank, row))
    best = max((rank for rank, _ in ranked), default=None)
    return [(rank[0], row) for rank, row in ranked if rank == best]


def _refuse_shared_rows(
    annotations: Sequence[Mapping[str, Any]], found: dict[str, tuple[bool, TableRow]], table: LabelTable
) -> None:
    """Refuses lines that match several videos, as 1.mp4 matches fight/1 and noFight/1."""
    sources = {identifier_of(annotation): _source_of(annotation) for annotation in annotations}
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


def match_person_rows(annotations: Sequence[Mapping[str, Any]], table: LabelTable) -> dict[str, list[TableRow]]:
    """Finds the lines of persons by clip id: those of the clips that a file matches best.

    The times of such a line are those of the label, so it may belong to several clips of one video.
    """
    by_name: dict[str, list[tuple[Parts, bool, Mapping[str, Any]]]] = {}
    for annotation in annotations:
        for parts, is_id in _clip_keys(annotation):
            by_name.setdefault(parts[-1], []).append((parts, is_id, annotation))
    found: dict[str, list[TableRow]] = {}
    clips_of: dict[PurePosixPath, list[str]] = {}
    for row in table.rows:
        if not row.is_person:
            continue
        if row.file not in clips_of:
            clips_of[row.file] = _best_clips(replace(row, start=None, end=None), by_name, table)
        for clip in clips_of[row.file]:
            found.setdefault(clip, []).append(row)
    return found


def _best_clips(
    row: TableRow, by_name: Mapping[str, list[tuple[Parts, bool, Mapping[str, Any]]]], table: LabelTable
) -> list[str]:
    """The clips of the video that a line matches best."""
    ranked: list[tuple[tuple[bool, int, bool], Mapping[str, Any]]] = []
    for parts, is_shortened in _row_keys(row):
        for clip_parts, is_id, annotation in by_name.get(parts[-1], []):
            rank = _rank(parts, clip_parts, is_id=is_id, allowed=is_id or not is_shortened)
            if rank is not None:
                ranked.append((rank, annotation))
    best = max((rank for rank, _ in ranked), default=None)
    clips = {identifier_of(clip): _source_of(clip) for rank, clip in ranked if rank == best}
    if len(set(clips.values())) > 1:
        first, second, *_ = clips
        raise AnnotationError(
            f"{table.path}, line {row.line}: {row.file} matches clips {first!r} and {second!r} equally well; use the "
            "path of the clip in the data set"
        )
    return list(clips)


class VideoRows:
    """Finds the videos that the lines of a table name, in files of other programs.

    Args:
        videos: Paths of the videos; empty for none.
        table: Path of the table, for messages.
    """

    def __init__(self, videos: Sequence[str], table: Path) -> None:
        self._videos, self._table = videos, table
        self._by_name: dict[str, list[tuple[Parts, bool, int]]] = defaultdict(list)
        for number, video in enumerate(videos):
            for path, is_shortened in _with_and_without_suffix(video):
                self._by_name[path[-1]].append((path, is_shortened, number))

    def of_row(self, row: TableRow) -> list[int]:
        """Return the places of the videos that a line matches best; several if these are the same video.

        Raises:
            AnnotationError: It matches several videos equally well.
        """
        ranked: list[tuple[tuple[bool, int, bool], int]] = []
        for parts, is_shortened in _with_and_without_suffix(str(row.file)):
            for video_parts, video_is_shortened, number in self._by_name.get(parts[-1], []):
                # The suffix matters if both have one: a.avi is not a.mp4.
                allowed = not (is_shortened and video_is_shortened)
                rank = _rank(parts, video_parts, is_id=True, allowed=allowed)
                if rank is not None:
                    ranked.append((rank, number))
        best = max((rank for rank, _ in ranked), default=None)
        found = sorted({number for rank, number in ranked if rank == best})
        first, *others = dict.fromkeys(self._videos[number] for number in found) or [""]
        if others:
            raise AnnotationError(
                f"{self._table}, line {row.line}: {row.file} matches videos {first!r} and {others[0]!r} equally well; "
                "add the folder of the video"
            )
        return found


def _with_and_without_suffix(path: str) -> list[tuple[Parts, bool]]:
    short = without_suffix(path)
    return [(_parts(name), name != path) for name in dict.fromkeys((path, short)) if PurePosixPath(name).name]


def _rank(parts: Parts, clip_parts: Parts, *, is_id: bool, allowed: bool) -> tuple[bool, int, bool] | None:
    """How well a path of a line matches one of a clip, larger is better; None if it does not."""
    shared = min(len(parts), len(clip_parts))
    if parts[-shared:] != clip_parts[-shared:] or not allowed:
        return None
    return parts == clip_parts, shared, is_id


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
    keys = [(_parts(identifier_of(annotation)), True)]
    source = annotation.get("source")
    if isinstance(source, str) and PurePosixPath(source).name:
        keys.append((_parts(source), False))
        keys.append((_parts(str(PurePosixPath(source).with_suffix(""))), False))
    return keys


def _parts(path: str) -> Parts:
    return PurePosixPath(unicodedata.normalize("NFC", path)).parts

"""Which lines of a label table belong to which clips of a data set, by the paths of videos and the ids of clips."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from pipeline.inputs.label_table import LabelTable, TableRow
from pipeline.inputs.ntu import ntu_name
from pose_extraction.errors import AnnotationError
from pose_extraction.exchange.video_names import without_suffix
from pose_extraction.formats.annotations import identifier_of

T = TypeVar("T")
Parts = tuple[str, ...]
# Whether two paths are identical, the number of parts that agree, and whether one of them is the id of a clip.
Rank = tuple[bool, int, bool]


@dataclass(frozen=True, slots=True)
class _Key:
    """A path by which lines, clips and videos find each other.

    Args:
        parts: Its parts.
        is_shortened: Whether the suffix of the video was left out.
        is_clip: Whether it names a clip, rather than a video: the id of one, or a segment of a line.
    """

    parts: Parts
    is_shortened: bool = False
    is_clip: bool = False


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
    by_name = _by_name((key, row) for row in table.rows for key in _row_keys(row))
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
    annotation: Mapping[str, Any], by_name: Mapping[str, list[tuple[_Key, TableRow]]]
) -> list[tuple[bool, TableRow]]:
    """The lines that match a clip's paths best, each with a flag for identical paths."""
    return _best(
        (_rank(key, clip), row) for clip in _clip_keys(annotation) for key, row in by_name.get(clip.parts[-1], [])
    )


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
    by_name = _by_name((key, annotation) for annotation in annotations for key in _clip_keys(annotation))
    found: dict[str, list[TableRow]] = {}
    clips_of: dict[PurePosixPath, list[str]] = {}
    for row in table.rows:
        if not row.is_person:
            continue
        if row.file not in clips_of:
            clips_of[row.file] = _best_clips(row, by_name, table)
        for clip in clips_of[row.file]:
            found.setdefault(clip, []).append(row)
    return found


def _best_clips(
    row: TableRow, by_name: Mapping[str, list[tuple[_Key, Mapping[str, Any]]]], table: LabelTable
) -> list[str]:
    """The clips of the video that a line matches best."""
    clips = {identifier_of(clip): _source_of(clip) for _, clip in _best_for_video(row, by_name)}
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
        self._by_name = _by_name((key, number) for number, video in enumerate(videos) for key in _video_keys(video))

    def of_row(self, row: TableRow) -> list[int]:
        """Return the places of the videos that a line matches best; several if these are the same video.

        Raises:
            AnnotationError: It matches several videos equally well.
        """
        found = sorted({number for _, number in _best_for_video(row, self._by_name)})
        first, *others = dict.fromkeys(self._videos[number] for number in found) or [""]
        if others:
            raise AnnotationError(
                f"{self._table}, line {row.line}: {row.file} matches videos {first!r} and {others[0]!r} equally well; "
                "add the folder of the video"
            )
        return found


def _by_name(keys: Iterable[tuple[_Key, T]]) -> dict[str, list[tuple[_Key, T]]]:
    """Sort keys, and what they belong to, by the last part of the path."""
    found: dict[str, list[tuple[_Key, T]]] = defaultdict(list)
    for key, value in keys:
        found[key.parts[-1]].append((key, value))
    return found


def _best(ranked: Iterable[tuple[Rank | None, T]]) -> list[tuple[bool, T]]:
    """What matches best, each with a flag for identical paths."""
    matches = [(rank, value) for rank, value in ranked if rank is not None]
    best = max((rank for rank, _ in matches), default=None)
    return [(rank[0], value) for rank, value in matches if rank == best]


def _best_for_video(row: TableRow, by_name: Mapping[str, list[tuple[_Key, T]]]) -> list[tuple[bool, T]]:
    """What matches the video of a line best, whatever its times."""
    keys = _row_keys(replace(row, start=None, end=None))
    return _best((_rank(key, other), value) for key in keys for other, value in by_name.get(key.parts[-1], []))


def _rank(line: _Key, other: _Key) -> Rank | None:
    """How well a path of a line matches one of a clip or video, larger is better; None if it does not."""
    shared = min(len(line.parts), len(other.parts))
    # A segment is no video. The suffix of a video matters if both have one: a.avi is not a.mp4.
    differs = not other.is_clip and (line.is_clip or (line.is_shortened and other.is_shortened))
    if differs or line.parts[-shared:] != other.parts[-shared:]:
        return None
    return line.parts == other.parts, shared, other.is_clip


def _row_keys(row: TableRow) -> list[_Key]:
    """Paths that a line may refer to."""
    keys = _video_keys(str(row.file))
    published = ntu_name(row.file.name)
    if published is not None:
        keys.append(_Key(_parts(published.text), is_shortened=True))
    return [_Key((*key.parts[:-1], key.parts[-1] + row.segment), key.is_shortened, bool(row.segment)) for key in keys]


def _clip_keys(annotation: Mapping[str, Any]) -> list[_Key]:
    """Id and source of a clip."""
    source = annotation.get("source")
    return [
        _Key(_parts(identifier_of(annotation)), is_clip=True),
        *(_video_keys(source) if isinstance(source, str) else []),
    ]


def _video_keys(path: str) -> list[_Key]:
    """Path of a video, with and without its suffix."""
    names = dict.fromkeys((path, without_suffix(path)))
    return [_Key(_parts(name), name != path) for name in names if PurePosixPath(name).name]


def _parts(path: str) -> Parts:
    return PurePosixPath(unicodedata.normalize("NFC", path)).parts

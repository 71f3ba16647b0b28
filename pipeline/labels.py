"""Which clips a video makes, and the label, splits and group of each.

`--labels FILE.csv` takes them from a table, `none` leaves them out, and `auto` takes an NTU name at its word and
otherwise the name of the folder above a clip, where folders are classes.
"""

import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

from pipeline.inputs import Source
from pipeline.label_table import LabelTable, TableRow, read_label_table
from pipeline.ntu import ntu_name
from pose_extraction.annotations import ALL_CLIPS
from pose_extraction.errors import AnnotationError, UsageError

WITHOUT_SPLIT = (ALL_CLIPS,)

Origin = Literal["names", "none", "table"]


@dataclass(frozen=True, slots=True)
class ClipLabel:
    """One clip of a video.

    Args:
        frame_dir: Its id in the data set: the video's, and for a segment its times after it.
        label_name: Name of its action; None when it has none.
        splits: Splits that it is in.
        group: Clips of one group must not be on both sides of a split; None when it stands alone.
        start: Seconds at which it starts; None for the video's start.
        end: Seconds at which it ends; None for the video's end.
    """

    frame_dir: str
    label_name: str | None = None
    splits: tuple[str, ...] = WITHOUT_SPLIT
    group: str | None = None
    start: float | None = None
    end: float | None = None


class Labels(Protocol):
    """A source of labels; `origin` says which, and `warnings` holds sentences for the user."""

    @property
    def origin(self) -> Origin: ...

    @property
    def warnings(self) -> list[str]: ...

    def clips_of(self, source: Source) -> list[ClipLabel]:
        """The clips that a video makes, at least one."""
        ...


@dataclass(frozen=True, slots=True)
class NoLabels:
    """Every video is one clip without a label, in the split `all`."""

    warnings: list[str] = field(default_factory=list)
    origin: Origin = "none"

    def clips_of(self, source: Source) -> list[ClipLabel]:
        return [ClipLabel(source.frame_dir)]


@dataclass(frozen=True, slots=True)
class LabelsFromNames:
    """Every video is one clip, labelled by its NTU name or by the folder above it.

    An NTU clip is entered in cross-subject, cross-view and cross-setup alike: which apply is known when the data set
    is merged (`ntu.applicable_splits`).
    """

    warnings: list[str] = field(default_factory=list)
    origin: Origin = "names"

    def clips_of(self, source: Source) -> list[ClipLabel]:
        published = ntu_name(source.frame_dir)
        if published is not None:
            return [ClipLabel(source.frame_dir, published.label_name, published.splits)]
        return [ClipLabel(source.frame_dir, source.folder_label)]


class LabelsFromTable:
    """Clips as a table lists them; a video that it does not list is one clip without a label.

    Args:
        table: The table.
        sources: All videos of this run, for the warnings.

    Raises:
        AnnotationError: The table names a file that does not exist.
    """

    origin: Origin = "table"

    def __init__(self, table: LabelTable, sources: Sequence[Source]) -> None:
        self._table = table
        self._rows: dict[str, list[TableRow]] = {}
        self._rows_by_target: dict[str, list[TableRow]] = {}
        folder = table.path.parent
        for row in table.rows:
            self._rows.setdefault(_file_key(folder / row.file), []).append(row)
            self._rows_by_target.setdefault(_target_key(folder / row.file), []).append(row)
        self._refuse_missing(folder, {_file_key(source.path) for source in sources})
        self.warnings = [
            f"{table.path}: group {group!r} is on both sides of a split; results on it would be too good"
            for group in table.crossing_groups()
        ]
        unlisted = [source.relative for source in sources if not self._rows_of(source)]
        if unlisted:
            place = "" if table.has_splits else ", in the split all"
            self.warnings.append(
                f"{table.path} does not list {len(unlisted)} of {len(sources)} videos ({unlisted[0]}"
                f"{', ...' if len(unlisted) > 1 else ''}); they get no label{place}"
            )

    def _refuse_missing(self, folder: Path, known: set[str]) -> None:
        for row in self._table.rows:
            path = folder / row.file
            # The table may compose its accents in another way than the file's name.
            if not (_file_key(path) in known or path.exists() or Path(_file_key(path)).exists()):
                raise AnnotationError(
                    f"{self._table.path}, line {row.line}: there is no file {str(row.file)!r} in {folder.absolute()}; "
                    "correct the path, which counts from the table's folder, or delete the line"
                )

    def _rows_of(self, source: Source) -> list[TableRow]:
        return self._rows.get(_file_key(source.path)) or self._rows_by_target.get(_target_key(source.path), [])

    def clips_of(self, source: Source) -> list[ClipLabel]:
        rows = self._rows_of(source)
        if not rows:
            return [ClipLabel(source.frame_dir, splits=() if self._table.has_splits else WITHOUT_SPLIT)]
        return [
            ClipLabel(
                source.frame_dir + row.segment,
                row.label_name,
                self._table.splits_of(row),
                row.group,
                row.start,
                row.end,
            )
            for row in rows
        ]


def settle_labels(
    given: Sequence[ClipLabel], origin: Origin, stored: Mapping[str, ClipLabel], stored_origin: Origin
) -> tuple[list[ClipLabel], Origin]:
    """What a run's labels and the stored ones come to: names are a guess, which takes nothing from a clip.

    Args:
        given: The clips of one video, as this run labels them.
        origin: Where this run's labels come from; `table` and `none` were asked for, and have the last word.
        stored: Labels of earlier runs, by the clip's id.
        stored_origin: Where those came from; what a table said, a name does not change.

    Returns:
        The clips with the labels that hold, and where those come from.
    """
    if origin != "names":
        return list(given), origin
    return (
        [_kept(clip, stored[clip.frame_dir], stored_origin) if clip.frame_dir in stored else clip for clip in given],
        "table" if stored_origin == "table" and any(clip.frame_dir in stored for clip in given) else "names",
    )


def _kept(clip: ClipLabel, stored: ClipLabel, stored_origin: Origin) -> ClipLabel:
    if stored_origin == "table":
        return replace(clip, label_name=stored.label_name, splits=stored.splits, group=stored.group)
    return replace(
        clip,
        label_name=stored.label_name if clip.label_name is None else clip.label_name,
        splits=stored.splits if clip.splits == WITHOUT_SPLIT else clip.splits,
        group=stored.group if clip.group is None else clip.group,
    )


def _file_key(path: Path) -> str:
    """The same text for the same name, however its accents are composed."""
    return unicodedata.normalize("NFC", os.path.normpath(path.absolute()))


def _target_key(path: Path) -> str:
    """The same text for the same file, through whichever link it is reached."""
    return unicodedata.normalize("NFC", os.path.realpath(path))


def load_labels(choice: str | Path, sources: Sequence[Source]) -> Labels:
    """The labels that `--labels` asks for.

    Args:
        choice: `auto`, `none` or the path of a table.
        sources: All videos of this run, before it is split into shards.

    Raises:
        UsageError: `choice` is none of these.
        AnnotationError: The table is wrong.
    """
    if str(choice) == "auto":
        return LabelsFromNames()
    if str(choice) == "none":
        return NoLabels()
    path = Path(choice)
    if not path.is_file():
        raise UsageError(f"--labels {choice}: neither auto nor none nor a file; name a CSV file with file and label")
    return LabelsFromTable(read_label_table(path), sources)

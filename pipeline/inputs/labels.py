"""Clips of a video, with the label, splits and group of each.

`--labels FILE.csv` reads them from a table, `none` assigns no labels, and `auto` uses NTU file names, or else the name
of the parent folder if folders are classes.
"""

import os
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

from pipeline.inputs.label_table import LabelTable, TableRow, read_label_table
from pipeline.inputs.ntu import ntu_name
from pipeline.inputs.videos import Source
from pose_extraction.errors import AnnotationError, UsageError
from pose_extraction.files import exists
from pose_extraction.formats.annotations import ALL_CLIPS
from pose_extraction.formats.person_labels import PersonLabel

WITHOUT_SPLIT = (ALL_CLIPS,)

Origin = Literal["names", "none", "table"]


@dataclass(frozen=True, slots=True)
class ClipLabel:
    """One clip of a video.

    Args:
        frame_dir: Id in the data set: that of the video, followed by the times for a segment.
        label_name: Name of its action; None if it is unlabelled.
        splits: Splits that contain it.
        group: Clips of one group must not be on both sides of a split; None if it belongs to no group.
        start: Start in seconds; None for the start of the video.
        end: End in seconds; None for the end of the video.
        persons: Labels of single persons.
    """

    frame_dir: str
    label_name: str | None = None
    splits: tuple[str, ...] = WITHOUT_SPLIT
    group: str | None = None
    start: float | None = None
    end: float | None = None
    persons: tuple[PersonLabel, ...] = ()


class Labels(Protocol):
    """A source of labels: its `origin`, and `warnings` for the user."""

    @property
    def origin(self) -> Origin: ...

    @property
    def warnings(self) -> list[str]: ...

    def clips_of(self, source: Source) -> list[ClipLabel]:
        """The clips of a video, at least one."""
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
    """Every video is one clip, labelled by its NTU name or by its parent folder.

    An NTU clip is added to the cross-subject, cross-view and cross-setup splits; `ntu.applicable_splits` selects those
    that apply when the data set is merged.
    """

    warnings: list[str] = field(default_factory=list)
    origin: Origin = "names"

    def clips_of(self, source: Source) -> list[ClipLabel]:
        published = ntu_name(source.frame_dir)
        if published is not None:
            return [ClipLabel(source.frame_dir, published.label_name, published.splits)]
        return [ClipLabel(source.frame_dir, source.folder_label)]


class LabelsFromTable:
    """Clips from a table; a video that the table does not list is one clip without a label.

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
            self._rows.setdefault(file_key(folder / row.file), []).append(row)
            self._rows_by_target.setdefault(target_key(folder / row.file), []).append(row)
        self._refuse_missing(folder, {self._key_of(source) for source in sources})
        self.warnings = table.warnings()
        unlisted = [source.relative for source in sources if not self._rows_of(source)]
        if unlisted:
            place = "" if table.has_splits else ", in the split all"
            self.warnings.append(
                f"{table.path} does not list {len(unlisted)} of {len(sources)} videos ({unlisted[0]}"
                f"{', ...' if len(unlisted) > 1 else ''}); they are left unlabelled{place}"
            )

    def _refuse_missing(self, folder: Path, known: set[str]) -> None:
        for row in self._table.rows:
            path = folder / row.file
            # The table and the file name may use different Unicode normal forms.
            if not (file_key(path) in known or exists(path) or exists(Path(file_key(path)))):
                raise AnnotationError(
                    f"{self._table.path}, line {row.line}: there is no file {str(row.file)!r} in {folder.absolute()}; "
                    "correct the path, which is relative to the folder of the table, or delete the line"
                )

    def _rows_of(self, source: Source) -> list[TableRow]:
        return self._rows.get(self._key_of(source)) or self._rows_by_target.get(target_key(source.path), [])

    def _key_of(self, source: Source) -> str:
        # The table of videos at a URL names them as if it was next to them.
        path = source.path if source.remote is None else self._table.path.parent / source.relative
        return file_key(path)

    def clips_of(self, source: Source) -> list[ClipLabel]:
        rows = self._rows_of(source)
        persons = [self._table.person_label(row) for row in rows if row.is_person]
        clips = [
            ClipLabel(
                source.frame_dir + row.segment,
                row.label_name,
                self._table.splits_of(row),
                row.group,
                row.start,
                row.end,
            )
            for row in rows
            if not row.is_person
        ]
        if not clips:
            # The whole video is in all splits of its persons.
            named = tuple(dict.fromkeys(name for person in persons for name in person.splits or ()))
            clips = [ClipLabel(source.frame_dir, splits=named if self._table.has_splits else WITHOUT_SPLIT)]
        return [replace(clip, persons=tuple(one for one in persons if _overlaps(clip, one))) for clip in clips]


def _overlaps(clip: ClipLabel, person: PersonLabel) -> bool:
    first, last = person.span
    return (clip.start is None or last > clip.start) and (clip.end is None or first < clip.end)


def settle_labels(
    given: Sequence[ClipLabel], origin: Origin, stored: Mapping[str, ClipLabel], stored_origin: Origin
) -> tuple[list[ClipLabel], Origin]:
    """Combines the labels of this run with those of earlier runs.

    Labels from names are a guess: they never remove a label, and never override one from a table.

    Args:
        given: Clips of one video with the labels of this run.
        origin: Origin of these labels; `table` and `none` are explicit and override stored labels.
        stored: Labels of earlier runs, by clip id.
        stored_origin: Origin of the stored labels.

    Returns:
        The clips with their resulting labels, and the origin of these.
    """
    if origin != "names":
        return list(given), origin
    return (
        [_kept(clip, stored[clip.frame_dir], stored_origin) if clip.frame_dir in stored else clip for clip in given],
        "table" if stored_origin == "table" and any(clip.frame_dir in stored for clip in given) else "names",
    )


def _kept(clip: ClipLabel, stored: ClipLabel, stored_origin: Origin) -> ClipLabel:
    clip = replace(clip, persons=stored.persons)
    if stored_origin == "table":
        return replace(clip, label_name=stored.label_name, splits=stored.splits, group=stored.group)
    return replace(
        clip,
        label_name=stored.label_name if clip.label_name is None else clip.label_name,
        splits=stored.splits if clip.splits == WITHOUT_SPLIT else clip.splits,
        group=stored.group if clip.group is None else clip.group,
    )


def file_key(path: Path) -> str:
    """Return the key of a file name, in Unicode normal form C."""
    return unicodedata.normalize("NFC", os.path.normpath(path.absolute()))


def target_key(path: Path) -> str:
    """Return the key of a file, with links resolved."""
    return unicodedata.normalize("NFC", os.path.realpath(path))


def load_labels(
    choice: str | Path, sources: Sequence[Source], adapted: Callable[[LabelTable], LabelTable] | None = None
) -> Labels:
    """Loads the labels for the option `--labels`.

    Args:
        choice: `auto`, `none` or the path of a table.
        sources: All videos of the run, before it is split into shards.
        adapted: Changes a table after reading; None to take it as it is.

    Raises:
        UsageError: `choice` is none of these.
        AnnotationError: The table is invalid.
    """
    if str(choice) == "auto":
        return LabelsFromNames()
    if str(choice) == "none":
        return NoLabels()
    path = Path(choice)
    if not path.is_file():
        raise UsageError(
            f"--labels {choice}: must be auto, none or an existing CSV file with the columns file and label"
        )
    table = read_label_table(path)
    return LabelsFromTable(table if adapted is None else adapted(table), sources)

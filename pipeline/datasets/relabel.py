"""`skelpipe label`: changes labels, splits and groups of extracted skeletons."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.datasets.row_matching import match_person_rows, match_rows
from pipeline.inputs.label_table import LabelTable, TableRow, read_label_table
from pose_extraction.files import held
from pose_extraction.formats.annotations import class_names, data_set, identifier_of, label_name_of
from pose_extraction.formats.person_labels import KEY as PERSON_LABELS
from pose_extraction.formats.person_labels import PersonLabel, person_labels_of
from pose_extraction.formats.persons import find_person, found_in, set_person_labels
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.formats.shards.manifest import is_shards
from pose_extraction.formats.shards.shard_set import open_shards
from pose_extraction.formats.shards.update import change_labels
from pose_extraction.formats.storage import annotation_reader, write_data_set
from pose_extraction.formats.validation import read_data_set

# Reads a clip by its id.
Reader = Callable[[str], dict[str, Any]]


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
        persons: Number of lines that label a person.
        nobody: Lines whose person is in no matched clip, each with the reason.
    """

    path: Path
    matched: int
    unmatched: list[str]
    unused: list[str]
    warnings: list[str]
    video_files: int
    persons: int
    nobody: list[str]

    def lines(self, table: Path, *, complete: bool) -> list[str]:
        """Return the warnings, one line per kind; if `complete`, one for each clip and each line of the table instead.

        Args:
            table: The table, for messages.
            complete: Whether to list all clips that the table does not list, and all its lines that match nothing.
        """
        lines = list(self.warnings)
        if self.unmatched and complete:
            lines += [f"{table} does not list clip {clip}, so nothing changes there" for clip in self.unmatched]
        elif self.unmatched:
            count = len(self.unmatched)
            clips = f"clip {self.unmatched[0]}" if count == 1 else f"{count} clips (the first: {self.unmatched[0]})"
            lines.append(f"{table} does not list {clips}, so nothing changes there")
        unused = [f"{table}, {line}: matches no clip" for line in self.unused]
        nobody = [f"{table}, {line}" for line in self.nobody]
        if complete:
            return [*lines, *unused, *nobody]
        for found, what in ((unused, "no clip"), (nobody, "no person")):
            several = f"{len(found)} lines match {what}; --check lists them. The first: "
            lines += [(several if len(found) > 1 else "") + line for line in found[:1]]
        return lines


@dataclass(frozen=True)
class _Lines:
    """The lines of a table by id of the clip that they match.

    Args:
        table: The table.
        clips: The line of each clip.
        persons: The lines of the persons of each clip.
        nobody: The reason for each line whose person is in none of these clips.
    """

    table: LabelTable
    clips: dict[str, TableRow]
    persons: dict[str, list[TableRow]]
    nobody: dict[int, str]

    def of_table(self) -> set[int]:
        """Numbers of all lines that match a clip."""
        matched = {row.line for row in self.clips.values()}
        return matched | {row.line for rows in self.persons.values() for row in rows}

    def __contains__(self, clip: object) -> bool:
        return clip in self.clips or clip in self.persons


def relabel(pickle: Path, csv: Path, out: Path | None = None, *, check: bool = False) -> Relabelled:
    """Assigns the labels, splits and groups of a table to the clips of a data set, and to their persons.

    A line matches a clip if its file is the source or the id of the clip, ignoring suffixes, or if one of the two paths
    ends with the other. A table without splits or groups leaves these unchanged. A line that labels a person changes no
    label of the clip or of other persons.

    Args:
        pickle: The data set, a skeleton file or shards. Shards stay as they are; only their table of labels changes.
        csv: The table.
        out: The file or folder to write; None to change `pickle` in place, and also the files of single videos in the
            folder of the same name, so that the next merge keeps the labels.
        check: Whether to write nothing.

    Raises:
        AnnotationError: Data set or table is malformed, or a line matches several clips (or a clip several lines)
            equally well.
    """
    table = read_label_table(csv)
    in_place = is_shards(pickle) and out is None
    # Without joints, if these stay as they are; only clips with persons to label are read.
    data = open_shards(pickle).without_arrays() if in_place else read_data_set(pickle)
    whole = annotation_reader(pickle) if in_place else None
    lines = _lines_of(data["annotations"], table, whole)
    clips = [identifier_of(annotation) for annotation in data["annotations"]]
    used = lines.of_table()
    video_files = 0
    if out is None and not check:
        # The files of single videos first: if interrupted in between, running the command again completes the work.
        video_files = _relabel_video_files(pickle.with_suffix(""), lines)
    if not check:
        relabelled = _relabelled(data, lines, whole)
        if in_place:
            with held(pickle):
                change_labels(pickle, relabelled)
        else:
            write_data_set(out or pickle, relabelled)
    return Relabelled(
        out or pickle,
        sum(clip in lines for clip in clips),
        sorted(clip for clip in clips if clip not in lines),
        [f"line {row.line}: {row.file}" for row in table.rows if row.line not in used],
        table.warnings(),
        video_files,
        sum(row.is_person for row in table.rows),
        [
            f"line {row.line}: {table.person_label(row).describe()} matches no person in {row.file}: "
            f"{lines.nobody[row.line]}"
            for row in table.rows
            if row.line in lines.nobody
        ],
    )


def _lines_of(annotations: Sequence[Mapping[str, Any]], table: LabelTable, whole: Reader | None) -> _Lines:
    """Finds the lines of each clip; `whole` reads a clip by its id if the annotations have no joints."""
    clips = match_rows(annotations, replace(table, rows=tuple(row for row in table.rows if not row.is_person)))
    persons = match_person_rows(annotations, table)
    reasons: dict[int, list[str]] = {}
    for annotation in annotations:
        rows = persons.get(identifier_of(annotation), ())
        clip = whole(identifier_of(annotation)) if whole is not None and rows else annotation
        for row in rows:
            reasons.setdefault(row.line, []).append(find_person(clip, table.person_label(row)).reason)
    return _Lines(table, clips, persons, {line: why[0] for line, why in reasons.items() if all(why)})


def _relabel_video_files(folder: Path, lines: _Lines) -> int:
    """Changes the files of single videos with matched clips, keeping raw poses; returns the number of changed files."""
    changed = 0
    for path in sorted(folder.rglob("*.pkl")) if folder.is_dir() else []:
        if path.name.startswith("."):
            continue
        data = read_data_set(path)
        if any(identifier_of(annotation) in lines for annotation in data["annotations"]):
            write_pickle(path, _relabelled(data, lines))
            changed += 1
    return changed


def _relabelled(data: dict[str, Any], lines: _Lines, whole: Reader | None = None) -> dict[str, Any]:
    label_names, table = data.get("label_names", []), lines.table
    has_groups = any(row.group is not None for row in table.rows)
    moved: dict[str, tuple[str, ...]] = {}
    for annotation in data["annotations"]:
        clip = annotation.setdefault("frame_dir", identifier_of(annotation))
        row, persons = lines.clips.get(clip), lines.persons.get(clip, [])
        annotation["label_name"] = label_name_of(annotation, label_names) if row is None else row.label_name
        if row is not None and has_groups:
            annotation["group"] = row.group
        if persons:
            # The joints are needed to find them.
            shown = annotation if whole is None else {**whole(clip), **annotation}
            _label_persons(shown, persons, lines, keep_groups=not has_groups)
            if PERSON_LABELS in shown:
                annotation[PERSON_LABELS] = shown[PERSON_LABELS]
            else:
                annotation.pop(PERSON_LABELS, None)
        if table.has_splits and row is not None:
            moved[clip] = row.splits
        elif table.has_splits and persons:
            # The whole clip is in all splits of its persons, as in an extraction with this table.
            labels = person_labels_of(annotation, clip)
            moved[clip] = tuple(dict.fromkeys(name for label in labels for name in label.splits or ()))
    split = {name: [clip for clip in clips if clip not in moved] for name, clips in data["split"].items()}
    for clip, names in moved.items():
        for name in names:
            split.setdefault(name, []).append(clip)
    extra = {key: value for key, value in data.items() if key not in ("split", "annotations", "label_names")}
    if "digest" in extra:
        # The file of a single video: a later extraction with labels from names must not override these.
        extra["labels_from"] = "table"
    # The same set of classes keeps its order, which may be official; other sets are renumbered.
    kept = label_names if class_names(data["annotations"]) == set(label_names) else None
    return data_set(data["annotations"], {name: clips for name, clips in split.items() if clips}, kept, **extra)


def _label_persons(annotation: dict[str, Any], rows: Sequence[TableRow], lines: _Lines, *, keep_groups: bool) -> None:
    """Puts labels of persons over those that a clip has; without splits or groups, they keep those that are there."""
    before = person_labels_of(annotation, annotation["frame_dir"])
    new: list[PersonLabel] = []
    for row in rows:
        label, reason = found_in(annotation, lines.table.person_label(row))
        if reason and row.line not in lines.nobody:
            # The person is in another clip of the video.
            continue
        own = [one for one in before if one.track_id is not None and one.track_id == label.track_id]
        if own and label.splits is None:
            label = replace(label, splits=own[0].splits)
        if own and keep_groups:
            label = replace(label, group=own[0].group)
        new.append(label)
    set_person_labels(annotation, [*before, *new])

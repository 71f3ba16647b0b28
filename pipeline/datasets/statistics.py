"""`skelpipe stats`: quality statistics per estimator and split, before and after cleaning."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.datasets.merging import skeleton_files
from pipeline.inputs.ntu import applicable_splits
from pose_extraction.formats.annotations import estimator_of, identifier_of
from pose_extraction.formats.person_labels import PersonLabel, person_labels_of
from pose_extraction.formats.storage import stream_data_set
from pose_extraction.tracking.quality import summarise

# Order of the rows of a split: before cleaning, after cleaning, and files of other tools, where it is unknown.
AS_STORED = "as stored"
STAGES = ("raw", "clean", AS_STORED)
ALL_CLIPS = "all clips"
# More than any data set can count.
MOST_COUNT = 1e18
# Measures that can be computed from the arrays alone, unlike missed persons and track ends.
MEASURES_OF_ARRAYS = frozenset({"videos", "frames", "frames_without_people", "poses", "missing_keypoints_percent"})


@dataclass(frozen=True, slots=True)
class Row:
    """The statistics of one estimator on one split at one stage.

    Args:
        estimator: Name of the estimator, or of the file if it does not name one.
        split: Name of the split; `all clips` for all clips of an estimator with several splits.
        stage: `raw` before cleaning, `clean` after it, `as stored` for a file without this information.
        clips: Number of clips.
        values: Values by name of the measure; None if unknown.
        person_labels: Number of labels of single persons that match a person.
        unmatched_labels: Number of those that match no person.
    """

    estimator: str
    split: str
    stage: str
    clips: int
    values: dict[str, float | None]
    person_labels: int = 0
    unmatched_labels: int = 0


@dataclass(slots=True)
class _Estimator:
    """Counts and splits of the clips of one estimator, without arrays."""

    counts: dict[str, dict[str, Mapping[str, float]]] = field(default_factory=dict)
    split: dict[str, list[str]] = field(default_factory=dict)
    # The labels of persons of each clip.
    persons: dict[str, list[PersonLabel]] = field(default_factory=dict)


def statistics_of(paths: Sequence[Path]) -> list[Row]:
    """Computes statistics of skeleton files, including those of other tools.

    Args:
        paths: Data sets (`skeletons/vitpose.pkl`), or folders with skeleton files of single videos. A clip in several
            of them counts once per estimator.

    Raises:
        UsageError: A path does not exist or contains no skeleton file.
        AnnotationError: A file is damaged, contains code or is not a skeleton data set.
    """
    estimators: dict[str, _Estimator] = {}
    for path in paths:
        for file in skeleton_files(path):
            _take(*stream_data_set(file), file.stem, estimators)
    return [row for name in sorted(estimators) for row in _rows(name, estimators[name])]


def _take(
    annotations: Iterable[Mapping[str, Any]],
    split: Mapping[str, Sequence[str]],
    file_name: str,
    estimators: dict[str, _Estimator],
) -> None:
    """Adds the counts of the clips of a file to their estimators."""
    taken: dict[str, _Estimator] = {}
    for annotation in annotations:
        clip = identifier_of(annotation)
        estimator = estimators.setdefault(estimator_of(annotation, file_name), _Estimator())
        if clip not in estimator.counts:
            quality = annotation.get("quality")
            estimator.counts[clip] = quality if _is_quality(quality) else {AS_STORED: _stored_counts(annotation)}
            estimator.persons[clip] = person_labels_of(annotation, clip)
            taken[clip] = estimator
    for name, clips in split.items():
        for clip in clips:
            if clip in taken:
                taken[clip].split.setdefault(name, []).append(clip)


def _stored_counts(annotation: Mapping[str, Any]) -> dict[str, float]:
    """Counts from the arrays alone: present persons and their missing joints."""
    keypoint = annotation["keypoint"]
    score = annotation.get("keypoint_score")
    seen = np.any(keypoint != 0, axis=-1) if score is None else np.asarray(score) > 0
    present = seen.any(axis=-1)
    return {
        "videos": 1.0,
        "frames": float(keypoint.shape[1]),
        "frames_without_people": float((~present.any(axis=0)).sum()),
        "poses": float(present.sum()),
        "joints": float(present.sum() * keypoint.shape[2]),
        "joints_missing": float((~seen[present]).sum()),
    }


def _is_count(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value < MOST_COUNT


def _is_quality(value: Any) -> TypeGuard[dict[str, Mapping[str, float]]]:
    """Whether a value contains counts of one or both stages, as written by `skelpipe extract`."""
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(
            stage in STAGES
            and isinstance(counts, Mapping)
            and all(isinstance(name, str) and _is_count(count) for name, count in counts.items())
            for stage, counts in value.items()
        )
    )


def _rows(name: str, estimator: _Estimator) -> list[Row]:
    split = applicable_splits(estimator.split)
    if not any(len(clips) == len(estimator.counts) for clips in split.values()):
        split[ALL_CLIPS] = list(estimator.counts)
    rows = []
    for split_name in sorted(split, key=lambda key: (key == ALL_CLIPS, key)):
        clips = [estimator.counts[clip] for clip in split[split_name]]
        for stage in STAGES:
            counts = [clip[stage] for clip in clips if stage in clip]
            if counts:
                values = summarise(counts)
                if stage == AS_STORED:
                    values = {key: value if key in MEASURES_OF_ARRAYS else None for key, value in values.items()}
                matched = _matched(estimator, split_name, split[split_name])
                lost = len(matched) - sum(matched)
                rows.append(Row(name, split_name, stage, len(counts), values, sum(matched), lost))
    return rows


def _matched(estimator: _Estimator, split_name: str, clips: Sequence[str]) -> list[bool]:
    """Whether a person matches, for each label of a person in a split: its own splits, or else those of the clip."""
    labels = [label for clip in clips for label in estimator.persons[clip] if label.label_name is not None]
    return [
        label.track_id is not None
        for label in labels
        if label.splits is None or split_name in label.splits or split_name == ALL_CLIPS
    ]


def _known(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def as_json(rows: Sequence[Row]) -> str:
    """Formats the rows as a JSON list of objects, with null for unknown values."""
    return json.dumps(
        [
            {"estimator": row.estimator, "split": row.split, "stage": row.stage, "clips": row.clips}
            | {"person_labels": row.person_labels, "unmatched_labels": row.unmatched_labels}
            | {name: _known(value) for name, value in row.values.items()}
            for row in rows
        ],
        indent=2,
        ensure_ascii=False,
        allow_nan=False,
    )


def print_table(rows: Sequence[Row], console: Console) -> None:
    """Prints a table for each estimator with one line per measure; n/a marks unknown values."""
    for estimator in dict.fromkeys(row.estimator for row in rows):
        columns = [row for row in rows if row.estimator == estimator]
        # Names are arbitrary text and must not be parsed as markup.
        table = Table("measure", title=Text(estimator), title_justify="left")
        for row in columns:
            table.add_column(Text(f"{row.split}\n{row.stage}"), justify="right")
        for cells in as_cells(columns):
            table.add_row(*cells)
        console.print(table)


def as_cells(columns: Sequence[Row]) -> list[list[str]]:
    """Formats one line per measure: its name, then its value in each column; n/a marks unknown values."""
    lines = [["clips", *(str(row.clips) for row in columns)]]
    if any(row.person_labels or row.unmatched_labels for row in columns):
        lines.append(["labelled persons", *(str(row.person_labels) for row in columns)])
        lines.append(["labels that match no person", *(str(row.unmatched_labels) for row in columns)])
    for name in dict.fromkeys(name for row in columns for name in row.values):
        title = name.replace("_percent", " %").replace("_", " ")
        lines.append([title, *(_cell(row.values.get(name)) for row in columns)])
    return lines


def _cell(value: float | None) -> str:
    known = _known(value)
    if known is None:
        return "n/a"
    return str(known) if isinstance(known, int) else f"{known:.2f}"

"""Corrections as rows of a label table and as labels of persons."""

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from pipeline.corrections.document import Corrections, Segment
from pipeline.corrections.identities import Origins, corrected, origins
from pipeline.inputs.label_table import TableRow
from pose_extraction.formats.clip_arrays import track_ids
from pose_extraction.formats.person_labels import PersonLabel
from pose_extraction.formats.persons import anchor_for, set_person_labels


def label_rows(
    annotation: Mapping[str, Any], corrections: Corrections, *, file: str, offset: float = 0.0
) -> list[TableRow]:
    """Return the rows of a label table for the corrections of a video.

    The rows name the tracks as they were before identities were edited, each with an anchor, so that they also fit an
    extraction without these edits: a segment of a person who consists of several tracks gives several rows. All rows of
    a person have one group.

    Args:
        annotation: A clip of the result.
        corrections: The corrections of its video.
        file: The video, as it should stand in the table.
        offset: Seconds to add to times of the document to get times of the stream.

    Raises:
        AnnotationError: A person does not exist, or the clip has no times.
    """
    found, ids = origins(annotation, corrections, offset=offset), track_ids(annotation)
    rows: list[TableRow] = []
    for segment in corrections.lessons:
        group = annotation.get("group") or f"{file}#{segment.person}"
        for row, frames, start, end in _pieces(found, segment, offset):
            anchor = anchor_for(annotation, row, frames)
            # The first line of a table is its header.
            line = len(rows) + 2
            rows.append(
                TableRow(line, PurePosixPath(file), segment.label, (), str(group), start, end, ids[row], anchor)
            )
    return rows


def _pieces(found: Origins, segment: Segment, offset: float) -> Iterator[tuple[int, np.ndarray, float, float]]:
    """Yield each stretch of a segment that one track shows: the track's position, its frames, start and end."""
    start, end = max(segment.start + offset, 0.0), segment.end + offset
    of_person = found.rows[found.persons.index(segment.person)]
    frames = np.flatnonzero((of_person >= 0) & (found.time >= start) & (found.time < end))
    if not len(frames):
        return
    cuts = np.flatnonzero(np.diff(of_person[frames])) + 1
    stretches = np.split(frames, cuts)
    bounds = [start, *(float(found.time[stretch[0]]) for stretch in stretches[1:]), end]
    for stretch, first, last in zip(stretches, bounds, bounds[1:], strict=False):
        yield int(of_person[stretch[0]]), stretch, first, last


def with_lessons(
    annotation: Mapping[str, Any], corrections: Corrections, *, name: str, offset: float = 0.0
) -> dict[str, Any]:
    """Return a clip with corrected tracks, in which the corrected segments are labels of persons.

    Args:
        annotation: A clip of the result.
        corrections: The corrections of its video.
        name: Id of the clip.
        offset: Seconds to add to times of the document to get times of the stream.

    Raises:
        AnnotationError: A person does not exist, or the clip has no times.
    """
    clip = corrected(annotation, corrections, offset=offset)
    clip |= {"frame_dir": name, "source": name, "label": -1, "label_name": None}
    clip.pop("filename", None)
    set_person_labels(
        clip,
        [
            PersonLabel(segment.label, segment.person, None, segment.start + offset, segment.end + offset)
            for segment in corrections.lessons
        ],
    )
    return clip

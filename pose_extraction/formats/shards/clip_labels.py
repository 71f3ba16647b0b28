"""The table of current labels, groups and splits of a data set in shards: changing it leaves the joints as they are."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pose_extraction.errors import AnnotationError
from pose_extraction.files import atomic_write
from pose_extraction.formats.label_numbers import UNLABELLED
from pose_extraction.formats.person_labels import matched
from pose_extraction.formats.shards.arrow import arrow
from pose_extraction.formats.shards.manifest import LABELS
from pose_extraction.formats.shards.plain import from_text, to_text


@dataclass(frozen=True, slots=True)
class ClipLabels:
    """Labels of one clip.

    Args:
        label_name: Name of the action; None for an unlabelled clip.
        group: Clips of a group are on the same side of a split; None for a clip without a group.
        splits: Names of the splits that contain the clip, sorted.
        person_labels: Labels of its persons as in the annotation; None for none.
    """

    label_name: str | None = None
    group: str | None = None
    splits: tuple[str, ...] = ()
    person_labels: Any = None

    @property
    def class_names(self) -> set[str]:
        """Names of the actions of the clip and of persons in it; a label that matches no person has no class."""
        names = {self.label_name, *(person["label_name"] for person in matched(self.person_labels))}
        return {name for name in names if name is not None}


def labels_of(annotation: Mapping[str, Any], splits: Iterable[str]) -> ClipLabels:
    """Return the labels of an annotation that has a `label_name`, and of its splits."""
    group = annotation.get("group")
    return ClipLabels(
        annotation.get("label_name"),
        None if group is None else str(group),
        tuple(sorted(splits)),
        annotation.get("person_labels"),
    )


def write_labels(folder: Path, labels: Mapping[str, ClipLabels], label_names: Iterable[str]) -> None:
    """Write the table, sorted by clip, with the number of each label."""
    pa = arrow()
    numbers = {name: number for number, name in enumerate(label_names)}
    names = sorted(labels)
    rows = [labels[name] for name in names]
    persons = [None if row.person_labels is None else to_text(row.person_labels, "person_labels") for row in rows]
    table = pa.table(
        {
            "frame_dir": pa.array(names, pa.string()),
            "label": pa.array([_number(row, numbers) for row in rows], pa.int64()),
            "label_name": pa.array([row.label_name for row in rows], pa.string()),
            "group": pa.array([row.group for row in rows], pa.string()),
            "splits": pa.array([list(row.splits) for row in rows], pa.list_(pa.string())),
            "person_labels": pa.array(persons, pa.string()),
        }
    )
    with atomic_write(folder / LABELS) as file:
        pa.parquet.write_table(table, file, compression="zstd", write_page_checksum=True)


def _number(row: ClipLabels, numbers: Mapping[str, int]) -> int:
    return UNLABELLED if row.label_name is None else numbers.get(row.label_name, UNLABELLED)


def read_labels(folder: Path) -> Any:
    """Return the table as an Arrow table.

    Raises:
        AnnotationError: It is missing or damaged.
    """
    pa, path = arrow(), folder / LABELS
    try:
        table = pa.parquet.read_table(path, partitioning=None, page_checksum_verification=True)
        return table.select(["frame_dir", "label", "label_name", "group", "splits", "person_labels"])
    except (OSError, pa.ArrowException, KeyError) as error:
        raise AnnotationError(
            f"{path}: the table of labels cannot be read ({str(error).splitlines()[0]:.120}); restore it, or merge "
            "the clips again"
        ) from error


def as_clip_labels(table: Any) -> dict[str, ClipLabels]:
    """Return the rows of the table by clip."""
    columns = table.to_pydict()
    return {
        name: ClipLabels(label, group, tuple(splits or ()), None if persons is None else from_text(persons))
        for name, label, group, splits, persons in zip(
            *(columns[key] for key in ("frame_dir", "label_name", "group", "splits", "person_labels")), strict=True
        )
    }

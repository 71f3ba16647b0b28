"""Skeleton files of several data sets as one: classes with the same meaning become one class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pose_extraction.errors import UsageError
from pose_extraction.formats.annotations import label_name_of
from pose_extraction.formats.pickles import read_pickle
from pose_extraction.formats.validation import validate_container
from recognition.data.class_names import check_old

TRAIN, TEST = "train", "test"
# Fields of an annotation that a training uses.
FIELDS = (
    "total_frames", "img_shape", "original_shape", "keypoint", "keypoint_score", "track_id", "time", "fps",
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A skeleton file of one data set, with one pose estimator.

    Args:
        name: Name of the data set. Files of the same name show the same persons.
        path: The file.
    """

    name: str
    path: Path


def merged(parts: Sequence[Part], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the clips of all files in PYSKL's format, with the splits train and test.

    Args:
        parts: The files; each has the splits train and test.
        names: New name of a class by the name in a file; other classes keep theirs.

    Raises:
        UsageError: A file lacks a split, or a new name is given for a class that no file has.
        AnnotationError: A file is damaged.
    """
    data: dict[str, Any] = {"split": {TRAIN: [], TEST: []}, "annotations": [], "label_names": []}
    found: dict[str, None] = {}
    for number, part in enumerate(parts):
        content = read_pickle(part.path)
        validate_container(content, part.path)
        missing = {TRAIN, TEST} - set(content["split"])
        if missing:
            raise UsageError(f"{part.path}: has no split {min(missing)}, which the test on unseen people requires")
        prefix = f"{part.name}/{number}/"
        for split in (TRAIN, TEST):
            data["split"][split] += [prefix + name for name in content["split"][split]]
        for annotation in content["annotations"]:
            own = label_name_of(annotation, content["label_names"])
            if own is None:
                raise UsageError(f"{part.path}: clip {annotation['frame_dir']!r} has no label")
            found[own] = None
            label_name = names.get(own, own)
            if label_name not in data["label_names"]:
                data["label_names"].append(label_name)
            data["annotations"].append(
                {
                    **{field: annotation[field] for field in FIELDS if field in annotation},
                    "frame_dir": prefix + annotation["frame_dir"],
                    "label": data["label_names"].index(label_name),
                    "group": f"{part.name}/{annotation.get('group') or annotation['frame_dir']}",
                }
            )
    check_old("--call", names, found, ", ".join(str(part.path) for part in parts))
    return data

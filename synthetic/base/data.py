"""Training clips of the base weights: synthetic motions, and the training splits of real skeleton files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pose_extraction.errors import UsageError
from pose_extraction.files import sha256_of
from pose_extraction.formats.annotations import label_name_of
from pose_extraction.formats.pickles import read_pickle
from pose_extraction.formats.validation import validate_container
from synthetic.motions.clips import SPLIT, motion_set

# Fields of an annotation that a training uses; the others of real files are left out.
FIELDS = (
    "frame_dir", "total_frames", "img_shape", "original_shape", "keypoint", "keypoint_score", "group", "track_id",
    "fps", "time",
)  # fmt: skip
TRAIN = "train"


@dataclass(frozen=True)
class Source:
    """Where clips of the base come from.

    Args:
        name: Name of the data set.
        clips: Number of clips.
        classes: Number of classes.
        sha256: Digest of the file; None for synthetic motions.
    """

    name: str
    clips: int
    classes: int
    sha256: str | None


def base_set(real: Mapping[str, Path], *, classes: int, clips: int, seed: int) -> tuple[dict[str, Any], list[Source]]:
    """Return the clips in PYSKL's format with the single split "train", and where they come from.

    The classes of a real file are classes of their own, "NAME/class". Only clips of its split "train" are used.

    Args:
        real: Skeleton files by name of the data set.
        classes: Number of synthetic actions; 0 for none.
        clips: Number of synthetic clips.
        seed: Random seed.

    Raises:
        UsageError: There are no clips at all, or a file has no split "train".
        AnnotationError: A file is damaged.
    """
    if not classes and not real:
        raise UsageError("nothing to train on: set --classes above 0, or give --real NAME=FILE")
    data: dict[str, Any] = {"split": {SPLIT: []}, "annotations": [], "label_names": []}
    sources = []
    if classes:
        data = motion_set(classes, clips, seed=seed)
        sources.append(Source("synthetic motions", clips, classes, None))
    for name, path in real.items():
        sources.append(_add(data, name, path))
    return data, sources


def _add(data: dict[str, Any], name: str, path: Path) -> Source:
    """Add the training clips of a skeleton file to `data`, with new numbers of the classes."""
    found = read_pickle(path)
    validate_container(found, path)
    if TRAIN not in found["split"]:
        raise UsageError(f"{path}: has no split {TRAIN!r}; its splits are {', '.join(found['split']) or 'none'}")
    wanted = set(found["split"][TRAIN])
    names = list(found.get("label_names") or [])
    numbers: dict[str, int] = {}
    added = 0
    for annotation in found["annotations"]:
        label = label_name_of(annotation, names)
        if annotation["frame_dir"] not in wanted or label is None or not _shows_anybody(annotation):
            continue
        full = f"{name}/{label}"
        if full not in numbers:
            numbers[full] = len(data["label_names"])
            data["label_names"].append(full)
        kept = {field: annotation[field] for field in FIELDS if field in annotation}
        kept |= {"frame_dir": f"{name}/{annotation['frame_dir']}", "label": numbers[full], "label_name": full}
        data["annotations"].append(kept)
        data["split"][SPLIT].append(kept["frame_dir"])
        added += 1
    return Source(name, added, len(numbers), sha256_of(path))


def _shows_anybody(annotation: dict[str, Any]) -> bool:
    score = annotation.get("keypoint_score")
    return bool((annotation["keypoint"] if score is None else score).any())

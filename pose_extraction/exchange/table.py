"""The formats that `skelpipe import` reads and `skelpipe export` writes, and what each of them can hold."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.errors import UsageError
from pose_extraction.exchange.clips import Given, PoseClip
from pose_extraction.exchange.person_files import person_paths, refuse_other_persons
from pose_extraction.exchange.programs import (
    alphapose,
    coco,
    cvat,
    deeplabcut,
    mmpose,
    mot,
    movement,
    nwb,
    openpose,
    pose_file,
    sleap,
    trc,
)
from pose_extraction.exchange.skeletons import OWN_FIELDS

# What a clip may hold, and a format may not.
JOINTS, SCORES, TIMES, RATE, SIZE = "joints", "scores", "uneven times", "frame rate", "frame size"
IDS, NUMBERS, EMPTY, IMPUTED, DEPTH = "ids", "frame numbers", "frames without persons", "imputed marks", "3D"
PARTS = (JOINTS, SCORES, TIMES, RATE, SIZE, IDS, NUMBERS, EMPTY, IMPUTED, DEPTH)

Reader = Callable[[Path, Given], list[PoseClip]]
Writer = Callable[[PoseClip, Path], None]


@dataclass(frozen=True)
class Format:
    """A format of another program.

    Args:
        title: The program, and what the file is.
        suffixes: Suffixes of a clip's file, the first of which is written; none if a clip is a folder.
        read: Reads the clips of a file; None if the format cannot be read.
        write: Writes a clip; None if it cannot be written.
        lacks: What it cannot hold, of PARTS.
        package: Package that it needs; None for no further one.
        one_person: Whether a file holds one person, see `person_files`.
    """

    title: str
    suffixes: tuple[str, ...]
    read: Reader | None
    write: Writer | None
    lacks: frozenset[str]
    package: str | None = None
    one_person: bool = False


def _lacks(*parts: str) -> frozenset[str]:
    return frozenset(parts)


FORMATS: dict[str, Format] = {
    "coco": Format(
        "COCO, data set of images with annotations", (".json",), coco.read_annotations, coco.write_annotations,
        _lacks(SCORES, IMPUTED, DEPTH),
    ),
    "coco-results": Format(
        "COCO, list of results", (".json",), coco.read_results, coco.write_results,
        _lacks(SIZE, EMPTY, IMPUTED, DEPTH),
    ),
    "alphapose": Format(
        "AlphaPose, results", (".json",), alphapose.read, alphapose.write, _lacks(SIZE, EMPTY, IMPUTED, DEPTH)
    ),
    "mmpose": Format("MMPose, predictions", (".json",), mmpose.read, mmpose.write, _lacks(IMPUTED)),
    "openpose": Format(
        "OpenPose, folder of JSON files", (), openpose.read, openpose.write, _lacks(SIZE, IMPUTED, DEPTH)
    ),
    "pose": Format(
        "pose-format, .pose of OpenPose or MediaPipe", (".pose",), pose_file.read, pose_file.write,
        _lacks(TIMES, IDS, NUMBERS, IMPUTED), "pose-format",
    ),
    "slp": Format("SLEAP, labels", (".slp",), sleap.read_slp, sleap.write_slp, _lacks(IMPUTED, DEPTH), "sleap-io"),
    "nwb": Format(
        "Neurodata Without Borders, ndx-pose", (".nwb",), nwb.read, nwb.write,
        _lacks(NUMBERS, IMPUTED), "movement",
    ),
    "labelstudio": Format(
        "Label Studio, key points", (".json",), sleap.read_labelstudio, sleap.write_labelstudio,
        _lacks(SCORES, TIMES, RATE, IDS, EMPTY, IMPUTED, DEPTH), "sleap-io",
    ),
    "deeplabcut": Format(
        "DeepLabCut, tracks", (".csv", ".h5"), deeplabcut.read, deeplabcut.write,
        _lacks(TIMES, RATE, SIZE, IMPUTED, DEPTH), "movement",
    ),
    "lightningpose": Format(
        "Lightning Pose, predictions", (".csv",), deeplabcut.read_lightning_pose,
        deeplabcut.write_lightning_pose, _lacks(TIMES, RATE, SIZE, IMPUTED, DEPTH), "movement", one_person=True,
    ),
    "anipose": Format(
        "Anipose, triangulated", (".csv",), movement.read_anipose, None,
        _lacks(TIMES, RATE, SIZE, IDS, NUMBERS, IMPUTED), "movement",
    ),
    "netcdf": Format(
        "movement, netCDF of an xarray data set", (".nc",), movement.read_netcdf, movement.write_netcdf, _lacks(),
        "movement",
    ),
    "trc": Format(
        "OpenSim and Pose2Sim, markers", (".trc",), trc.read, trc.write, _lacks(SCORES, SIZE, IMPUTED), one_person=True
    ),
    "cvat": Format(
        "CVAT for video 1.1, skeleton tracks", (".xml",), cvat.read, cvat.write,
        _lacks(SCORES, TIMES, RATE, IMPUTED, DEPTH),
    ),
    "mot15": Format(
        "MOT15, boxes", (".txt",), None, mot.write,
        _lacks(JOINTS, TIMES, RATE, SIZE, EMPTY, IMPUTED, DEPTH),
    ),
}  # fmt: skip


def files_for(clip: PoseClip, path: Path, target: Format) -> list[Path]:
    """Return the files, or the folder, that a clip will be written to; none if it has no persons that need one.

    Args:
        clip: The clip.
        path: Path of the clip.
        target: The format.

    Raises:
        AnnotationError: Files of other persons exist, which would be read as further persons of the clip.
    """
    if not target.one_person:
        return [path]
    numbers = clip.track_id.tolist()
    refuse_other_persons(path, numbers)
    return person_paths(path, numbers)


def format_named(name: str, *, to_write: bool, others: Sequence[str] = ()) -> Format:
    """Return a format by name.

    Args:
        name: Its name.
        to_write: Whether it is to be written, not read.
        others: Further names to list in messages.

    Raises:
        UsageError: There is no such format, or it cannot be read or written.
    """
    able = [one for one, found in FORMATS.items() if (found.write if to_write else found.read) is not None]
    if name in able:
        return FORMATS[name]
    verb, listed = "written" if to_write else "read", ", ".join((*able, *others))
    if name in FORMATS:
        raise UsageError(f"the format {name} cannot be {verb} ({FORMATS[name].title}); use one of {listed}")
    raise UsageError(f"unknown format {name!r}; can be {verb}: {listed}")


def parts_of(clip: PoseClip) -> set[str]:
    """Return what a clip holds, of PARTS, that differs from what a reader assumes without it."""
    present = clip.seen.any(axis=(0, 2))
    held = {
        JOINTS: True,
        SCORES: bool((clip.keypoint_score[clip.seen] != 1).any()),
        TIMES: not clip.is_regular,
        RATE: True,
        SIZE: clip.size is not None,
        IDS: clip.num_persons > 1,
        NUMBERS: bool((clip.frame_index != np.arange(clip.num_frames)).any()),
        EMPTY: not present.all(),
        IMPUTED: clip.imputed is not None and bool(clip.imputed.any()),
        DEPTH: clip.keypoint.shape[3] == 3,
    }
    return {part for part, is_held in held.items() if is_held}


def dropped_from(annotation: Mapping[str, Any], clip: PoseClip, target: Format) -> list[str]:
    """Return what a format cannot hold of a clip, in words.

    Args:
        annotation: The clip in the skeleton file.
        clip: The same, as it will be written.
        target: The format.
    """
    held = parts_of(clip)
    lost = [part for part in PARTS if part in held and part in target.lacks]
    own = {name for field, name in OWN_FIELDS.items() if annotation.get(field)}
    # Files of other programs have the number of the class only.
    label = annotation.get("label")
    if label is not None and label != -1:
        own.add(OWN_FIELDS["label_name"])
    return lost + [name for name in OWN_FIELDS.values() if name in own]

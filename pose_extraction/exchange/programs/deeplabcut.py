"""DeepLabCut's tables of tracks, which Lightning Pose uses, too: columns of scorer, individual, body part, coordinate.

They are written through movement. They are read here: pandas, which movement reads HDF5 with, executes code that such a
file may contain, and frame numbers would be lost.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.errors import AnnotationError
from pose_extraction.exchange.clips import Given, PoseClip, check_count, new_clip, number_persons
from pose_extraction.exchange.dropping import lost_names
from pose_extraction.exchange.person_files import files_of, person_path, refuse_other_persons
from pose_extraction.exchange.programs.movement import data_set_of
from pose_extraction.exchange.reading import check_hdf5, library, read_text
from pose_extraction.exchange.writing import file_of_library, write_text
from pose_extraction.formats.pickles import plain_from_bytes

NAME, LIGHTNING = "deeplabcut", "lightningpose"
KEY = "df_with_missing"
# (individual, body part, coordinate)
Column = tuple[str, str, str]


def read(path: Path, given: Given) -> list[PoseClip]:
    """Read the tracks of all individuals in a CSV or HDF5 file."""
    columns, index, values = _table(path)
    return [_clip([_column(column) for column in columns], index, values, path, given)]


def read_lightning_pose(path: Path, given: Given) -> list[PoseClip]:
    """Read the file of a clip with one person, or those of all its persons."""
    clips = [read(file, given)[0] for file in files_of(path).values()]
    first = clips[0]
    for clip in clips:
        if clip.joints != first.joints or clip.frame_index.tolist() != first.frame_index.tolist():
            raise AnnotationError(
                f"{path}: the files of its persons differ in body parts or frames; move them to different folders"
            )
    keypoint, score = (np.concatenate([getattr(c, key) for c in clips]) for key in ("keypoint", "keypoint_score"))
    ids = np.array(list(files_of(path))) if len(clips) == len(keypoint) else None
    clip = new_clip(
        first.joints, keypoint, score, place=str(path), given=given, frame_index=first.frame_index, track_id=ids
    )
    clip.dropped = clip.dropped.union(*(one.dropped for one in clips))
    return [clip]


def _table(path: Path) -> tuple[list[Sequence[str]], np.ndarray, np.ndarray]:
    if path.suffix.lower() in (".h5", ".hdf5"):
        return _from_hdf5(path)
    rows = list(csv.reader(io.StringIO(read_text(path))))
    header = [row for row in rows[:4] if row and row[0] in ("scorer", "individuals", "bodyparts", "coords")]
    if not header or header[-1][0] != "coords":
        raise AnnotationError(f"{path}: has no rows scorer, bodyparts and coords; it is not a table of DeepLabCut")
    body = [row for row in rows[len(header) :] if row]
    width = len(header[0])
    columns: list[Sequence[str]] = list(zip(*(row[1:] for row in header), strict=False))
    try:
        index = np.array([int(float(row[0])) for row in body], np.int64)
        cells = [(row[1:width] + [""] * width)[: width - 1] for row in body]
        values = np.array([[float(cell) if cell.strip() else np.nan for cell in row] for row in cells])
    except ValueError as error:
        raise AnnotationError(
            f"{path}: its rows must begin with a frame number, followed by numbers ({error}); tables of training "
            "labels, whose rows are images, hold no tracks"
        ) from error
    return columns, index, values.reshape(len(body), width - 1)


def _from_hdf5(path: Path) -> tuple[list[Sequence[str]], np.ndarray, np.ndarray]:
    """Return columns, frame numbers (T,) and values (T, N) of a table that pandas wrote, in either of its layouts."""
    check_hdf5(path, NAME)
    with library("h5py", NAME).File(path, "r") as file:
        group: Any = file.get(KEY) or next((one for one in file.values() if hasattr(one, "keys")), {})
        try:
            if "table" in group:
                table = group["table"]
                blocks = sorted(name for name in table.dtype.names if name.startswith("values_block"))
                columns = [
                    column for block in blocks for column in plain_from_bytes(table.attrs[f"{block}_kind"], path)
                ]
                records = table[:]
                values = np.concatenate([records[block].reshape(len(records), -1) for block in blocks], axis=1)
                return columns, records["index"].astype(np.int64), values
            levels = [_labels(group, "block0_items", number) for number in range(_count(group, "block0_items"))]
            return list(zip(*levels, strict=True)), group["axis1"][:].astype(np.int64), group["block0_values"][:]
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise AnnotationError(
                f"{path}: is not a table of tracks ({type(error).__name__}: {error}); files of training labels, whose "
                "rows are images, hold none"
            ) from error


def _count(group: Any, axis: str) -> int:
    return int(group.attrs[f"{axis}_nlevels"])


def _labels(group: Any, axis: str, level: int) -> list[str]:
    names = [name.decode() for name in group[f"{axis}_level{level}"][:].tolist()]
    return [names[number] for number in group[f"{axis}_label{level}"][:].tolist()]


def _column(column: Sequence[Any]) -> Column:
    words = [str(word) for word in column]
    return (words[-3] if len(words) > 3 else "", words[-2], words[-1])


def _clip(columns: Sequence[Column], index: np.ndarray, values: np.ndarray, path: Path, given: Given) -> PoseClip:
    coordinates = {column[2] for column in columns}
    axes = ["x", "y", "z"] if "z" in coordinates else ["x", "y"]
    if not {"x", "y"} <= coordinates or values.shape != (len(index), len(columns)):
        raise AnnotationError(f"{path}: must have the coordinates x, y and likelihood, has {sorted(coordinates)}")
    individuals = list(dict.fromkeys(column[0] for column in columns))
    joints = list(dict.fromkeys(column[1] for column in columns))
    shape = len(individuals), len(index), len(joints)
    check_count(int(np.prod(shape)) * len(axes), str(path))
    keypoint = np.full((*shape, len(axes)), np.nan, np.float32)
    score = np.zeros(shape, np.float32) if "likelihood" in coordinates else None
    for number, (individual, joint, axis) in enumerate(columns):
        where = individuals.index(individual), slice(None), joints.index(joint)
        if axis in axes:
            keypoint[(*where, axes.index(axis))] = values[:, number]
        elif score is not None and axis == "likelihood":
            score[where] = values[:, number]
    order = np.argsort(index, kind="stable")
    ids = number_persons(individuals)
    clip = new_clip(
        given.joints or joints, keypoint[:, order], None if score is None else score[:, order], place=str(path),
        given=given, frame_index=index[order], track_id=ids,
    )  # fmt: skip
    clip.dropped |= lost_names(individuals, ids)
    clip.dropped |= {f"columns {name!r}" for name in coordinates - {*axes, "likelihood"}}
    return clip


def write(clip: PoseClip, path: Path) -> None:
    """Write the tracks of all persons: HDF5 for *.h5, else CSV."""
    save_poses = library("movement.io.save_poses", NAME)
    _write_frame(save_poses.to_dlc_style_df(data_set_of(clip, NAME), split_individuals=False), clip, path)


def write_lightning_pose(clip: PoseClip, path: Path) -> None:
    """Write one file per person: `path` for a single one, else clip_P3.csv."""
    refuse_other_persons(path, clip.track_id.tolist())
    save_poses = library("movement.io.save_poses", LIGHTNING)
    frames = save_poses.to_dlc_style_df(data_set_of(clip, LIGHTNING), split_individuals=True)
    for name, frame in frames.items():
        _write_frame(frame, clip, person_path(path, int(name), clip.num_persons))


def _write_frame(frame: Any, clip: PoseClip, path: Path) -> None:
    frame.index = clip.frame_index
    if path.suffix.lower() not in (".h5", ".hdf5"):
        write_text(path, frame.to_csv())
        return
    with file_of_library(path) as part:
        # As DeepLabCut itself does it.
        frame.to_hdf(part, key=KEY, format="table", mode="w")

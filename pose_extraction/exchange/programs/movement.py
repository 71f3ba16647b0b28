"""movement: its data sets of xarray, as netCDF files, and the file of Anipose that it reads.

The names of the dimensions differ between releases of movement; all are read.
"""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.errors import AnnotationError
from pose_extraction.exchange.clips import Given, PoseClip, as_seconds, new_clip, number_persons
from pose_extraction.exchange.dropping import lost_names
from pose_extraction.exchange.reading import check_hdf5, library, read_start, read_text
from pose_extraction.files import atomic_write

NAME, ANIPOSE = "netcdf", "anipose"
# Columns of a joint in a file of Anipose that movement does not read.
_OF_ANIPOSE = {"_error": "errors of the triangulation", "_ncams": "numbers of cameras"}
# Files of netCDF 3 begin with these letters; others are HDF5.
_CLASSIC = b"CDF"
# Attributes that this project adds.
_HEIGHT, _WIDTH, _NUMBERS, _IMPUTED = "frame_height", "frame_width", "frame_number", "imputed"
_READ = ("position", "confidence", _NUMBERS, _IMPUTED)


def data_set_of(clip: PoseClip, format_name: str = NAME) -> Any:
    """Return a clip as the data set of poses that movement's functions take.

    Args:
        clip: The clip.
        format_name: Name of the format, for the message if movement is not installed.

    Returns:
        An `xarray.Dataset` with position, confidence, and `imputed` if it is known.
    """
    load_poses = library("movement.io.load_poses", format_name)
    data = load_poses.from_numpy(
        clip.keypoint.transpose(1, 3, 2, 0),
        np.where(clip.seen, clip.keypoint_score, np.nan).transpose(1, 2, 0).astype(np.float32),
        [str(number) for number in clip.track_id],
        list(clip.joints),
        fps=clip.fps,
        source_software="skelpipe",
    )
    data = data.assign_coords(time=clip.time)
    data[_NUMBERS] = ("time", clip.frame_index)
    if clip.size is not None:
        data.attrs[_HEIGHT], data.attrs[_WIDTH] = clip.size
    if clip.imputed is not None:
        data[_IMPUTED] = (data.confidence.dims, clip.imputed.transpose(1, 2, 0))
    return data


def write_netcdf(clip: PoseClip, path: Path) -> None:
    """Write a netCDF file that `movement` and `xarray.load_dataset` read."""
    data = data_set_of(clip)
    with atomic_write(path) as file:
        file.write(bytes(data.to_netcdf(engine="h5netcdf")))


def read_netcdf(path: Path, given: Given) -> list[PoseClip]:
    """Read a data set of poses."""
    classic = read_start(path, len(_CLASSIC)) == _CLASSIC
    if not classic:
        check_hdf5(path, NAME)
    try:
        data = library("xarray", NAME).load_dataset(path, engine="scipy" if classic else "h5netcdf")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise AnnotationError(f"{path}: is not a readable netCDF file ({error}); it is damaged") from error
    return [clip_of_data_set(data, str(path), given)]


def clip_of_data_set(data: Any, place: str, given: Given) -> PoseClip:
    """Return the clip in a data set of movement.

    Raises:
        AnnotationError: It is not a data set of poses.
    """
    names = {name.removesuffix("s"): name for name in map(str, getattr(data, "dims", ()))}
    if "position" not in data or not {"time", "space", "keypoint", "individual"} <= set(names):
        raise AnnotationError(f"{place}: must hold positions by time, space, keypoint and individual, as movement does")
    people, joint = names["individual"], names["keypoint"]
    position = data.position.transpose(people, "time", joint, "space").values
    score = None
    if "confidence" in data and np.isfinite(data.confidence.values).any():
        score = data.confidence.broadcast_like(data.position.isel(space=0, drop=True))
        score = score.transpose(people, "time", joint).values
    fps = as_seconds(_plain(data.attrs.get("fps")))
    in_seconds = data.attrs.get("time_unit") == "seconds" or fps is not None
    time = np.asarray(data.time.values, np.float64)
    numbers = np.asarray(data[_NUMBERS].values, np.int64) if _NUMBERS in data else None
    if numbers is None and not in_seconds:
        numbers = np.rint(time).astype(np.int64)
    elif numbers is None and fps is not None:
        numbers = np.rint(time * fps).astype(np.int64)
        numbers = None if (np.diff(numbers) <= 0).any() else numbers
    height, width = (_plain(data.attrs.get(key)) for key in (_HEIGHT, _WIDTH))
    size = (int(height), int(width)) if height and width else None
    joints = given.joints or tuple(str(name) for name in data[joint].values)
    individuals = [str(name) for name in data[people].values]
    ids = number_persons(individuals)
    clip = new_clip(
        joints, position, score, place=place, given=given, fps=fps, size=size, time=time if in_seconds else None,
        frame_index=numbers, track_id=ids,
    )  # fmt: skip
    clip.dropped |= lost_names(individuals, ids)
    clip.dropped |= {f"variable {name!r}" for name in map(str, data.data_vars) if name not in _READ}
    if _IMPUTED in data:
        clip.imputed = data[_IMPUTED].transpose(people, "time", joint).values.astype(bool)
    return clip


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def read_anipose(path: Path, given: Given) -> list[PoseClip]:
    """Read the triangulated joints of one person."""
    columns = next(csv.reader(io.StringIO(read_text(path))), [])
    load_poses = library("movement.io.load_poses", ANIPOSE)
    try:
        data = load_poses.from_anipose_file(path, fps=given.fps)
        # The library sorts joints by name; `--joints` names them in the order of the file.
        joints = dict.fromkeys(column[:-2] for column in columns if column.endswith(("_x", "_y", "_z")))
        data = data.sel({next(name for name in data.dims if str(name).startswith("keypoint")): list(joints)})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AnnotationError(f"{path}: is not a table of Anipose ({error})") from error
    clip = clip_of_data_set(data, str(path), given)
    clip.notes.append("its coordinates have no unit and are kept; skeletons in 3D are usually in metres")
    clip.dropped |= {part for ending, part in _OF_ANIPOSE.items() if any(column.endswith(ending) for column in columns)}
    return [clip]

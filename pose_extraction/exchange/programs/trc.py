"""TRC, the marker files of OpenSim and Pose2Sim: a table of one person, with times. Other persons have own files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pose_extraction.errors import AnnotationError
from pose_extraction.exchange.clips import Given, PoseClip, new_clip
from pose_extraction.exchange.dropping import DEPTH
from pose_extraction.exchange.person_files import files_of, person_paths, refuse_other_persons
from pose_extraction.exchange.reading import read_text
from pose_extraction.exchange.writing import write_text

_METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}
PIXELS = "px"
# Times that differ by a smaller part of a frame are those of the same frame.
_SAME_FRAME = 0.1


def read(path: Path, given: Given) -> list[PoseClip]:
    """Read the file of a clip with one person, or those of all its persons."""
    files = files_of(path)
    tables = {person: _table(file) for person, file in files.items()}
    joints, units, rate, _, _ = next(iter(tables.values()))
    for person, table in tables.items():
        if not len(table[3]):
            raise AnnotationError(f"{files[person]}: has no frames; it is truncated")
        if len(tables) > 1 and (np.diff(table[3]) <= 0).any():
            raise AnnotationError(f"{files[person]}: its times do not increase from frame to frame; correct them")
        if table[:3] != (joints, units, rate):
            raise AnnotationError(f"{files[person]}: has other markers, units or rate than the first person's file")
        if len(tables) > 1 and not rate > 0:
            raise AnnotationError(f"{files[person]}: has {rate:g} frames per second; correct its DataRate")
    time, keypoint = _together([(table[3], table[4]) for table in tables.values()], rate)
    flat = units == PIXELS
    has_depth = flat and bool(np.nan_to_num(keypoint[..., 2]).any())
    if flat:
        keypoint = keypoint[..., :2]
    elif units in _METRES:
        keypoint = keypoint * np.float32(_METRES[units])
    else:
        raise AnnotationError(f"{path}: has the units {units!r}; known are {', '.join(_METRES)} and {PIXELS}")
    index = np.rint((time - time[0]) * rate).astype(np.int64) + int(np.rint(time[0] * rate))
    if (np.diff(index) <= 0).any():
        index = np.arange(len(time))
    clip = new_clip(
        given.joints or joints, keypoint, None, place=str(path), given=given, fps=rate, time=time,
        frame_index=index, track_id=np.array(list(tables)),
    )  # fmt: skip
    if has_depth:
        clip.dropped.add(DEPTH)
    return [clip]


def _together(tables: Sequence[tuple[np.ndarray, np.ndarray]], rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the times (T,) and joints (M, T, V, 3) of persons who may be in different frames."""
    times = [time for time, _ in tables]
    if all(np.array_equal(time, times[0]) for time in times):
        return times[0], np.stack([joints for _, joints in tables])
    time = np.unique(np.concatenate(times))
    # The same frame, although a program has rounded its time.
    time = time[np.concatenate([[True], np.diff(time) * rate > _SAME_FRAME])]
    keypoint = np.full((len(tables), len(time), *tables[0][1].shape[1:]), np.nan, np.float32)
    for person, (own, joints) in enumerate(tables):
        keypoint[person, np.searchsorted(time, own + _SAME_FRAME / rate, side="right") - 1] = joints
    return time, keypoint


def _table(path: Path) -> tuple[tuple[str, ...], str, float, np.ndarray, np.ndarray]:
    """Return markers, units, frames per second, times (T,) and float32 (T, V, 3) of a file."""
    lines = [line.rstrip("\r") for line in read_text(path).split("\n")]
    try:
        header = dict(zip(lines[1].split("\t"), lines[2].split("\t"), strict=False))
        joints = tuple(name.strip() for name in lines[3].split("\t")[2:] if name.strip())
        rate, units = float(header["DataRate"]), header["Units"].strip()
        body = [line.split("\t") for line in lines[5:] if line.strip()]
        time = np.array([float(cells[1]) for cells in body])
        width = 3 * len(joints)
        rows = [(cells[2 : 2 + width] + [""] * width)[:width] for cells in body]
        values = [[float(cell) if cell.strip() else np.nan for cell in row] for row in rows]
        return joints, units, rate, time, np.array(values, np.float32).reshape(len(body), len(joints), 3)
    except (IndexError, KeyError, ValueError) as error:
        raise AnnotationError(f"{path}: is not a TRC file of markers ({error}); it is damaged or truncated") from error


def write(clip: PoseClip, path: Path) -> None:
    """Write one file per person: `path` for a single one, else clip_P3.trc. Pixels have z = 0."""
    numbers = clip.track_id.tolist()
    refuse_other_persons(path, numbers)
    for person, file in enumerate(person_paths(path, numbers)):
        write_text(file, "\n".join(_lines(clip, person, file.name)) + "\n")


def _lines(clip: PoseClip, person: int, name: str) -> list[str]:
    count, rate = len(clip.joints), f"{clip.fps:.10g}"
    units = "m" if clip.keypoint.shape[3] == 3 else PIXELS
    keys = ("DataRate", "CameraRate", "NumFrames", "NumMarkers", "Units", "OrigDataRate", "OrigDataStartFrame")
    values = (rate, rate, str(clip.num_frames), str(count), units, rate, "1", str(clip.num_frames))
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{name}",
        "\t".join((*keys, "OrigNumFrames")),
        "\t".join(values),
        "Frame#\tTime\t" + "\t".join(f"{joint}\t\t" for joint in clip.joints).rstrip("\t") + "\t\t",
        "\t\t" + "\t".join(f"{axis}{number}" for number in range(1, count + 1) for axis in "XYZ"),
        "",
    ]
    keypoint = clip.keypoint[person]
    if units == PIXELS:
        depth = np.where(np.isnan(keypoint[..., :1]), np.nan, np.float32(0))
        keypoint = np.concatenate([keypoint, depth], axis=-1)
    for row in range(clip.num_frames):
        cells = ["" if np.isnan(value) else str(value) for value in keypoint[row].ravel()]
        lines.append("\t".join([str(row + 1), repr(float(clip.time[row])), *cells]))
    return lines

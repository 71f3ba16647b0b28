"""Skeletons, windows and attention of a finished job as files, which a page loads in pieces.

    frames.bin          time and number of each sampled frame
    poses/ID.bin        rows of `POSE`, one per frame in which the person with this track id was seen
    attention/ID.bin    rows of `ATTENTION`
    scene.json          everything else; scene.json.gz: the same, compressed
    segments.json       of that, persons with their segments, without windows

Times in the files are seconds of the stream. `<video>.currentTime` counts from the beginning of the file, where sound
may begin before the first frame; scene.json has the difference as `video.start`, and all times in responses include it.
"""

import gzip
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.files import atomic_write
from pose_extraction.skeleton import COCO17

JOINTS = COCO17.num_joints
FRAME = np.dtype([("time", "<f8"), ("index", "<i8")])
POSE = np.dtype(
    [
        ("time", "<f8"),
        ("row", "<i8"),
        ("keypoint", "<f4", (JOINTS, 2)),
        ("score", "<f4", JOINTS),
        ("box", "<f4", 4),
        ("box_score", "<f4"),
        ("imputed", "?", JOINTS),
    ]
)
ATTENTION = np.dtype([("time", "<f8"), ("value", "<f4", JOINTS)])
SCENE_NAME, PACKED_NAME, SEGMENTS_NAME, FRAMES_NAME = "scene.json", "scene.json.gz", "segments.json", "frames.bin"


def poses_file(folder: Path, person: int) -> Path:
    """Return the file with the poses of a person."""
    return folder / "poses" / f"{person}.bin"


def attention_file(folder: Path, person: int) -> Path:
    """Return the file with the attention of a person."""
    return folder / "attention" / f"{person}.bin"


def append(path: Path, rows: np.ndarray) -> None:
    """Append rows to a file of rows, which `read` returns.

    Args:
        path: The file; it and its folder are created if they do not exist.
        rows: (R,), of the structured type that `read` is given for this file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(rows.tobytes())


def read(path: Path, kind: np.dtype) -> np.ndarray:
    """Return the rows of a file without reading them yet; no rows if it does not exist."""
    if not path.is_file() or not path.stat().st_size:
        return np.zeros(0, kind)
    return np.memmap(path, kind, "r")


def persons_in(folder: Path) -> list[int]:
    """Return the track ids of the persons with poses, in ascending order."""
    return sorted(int(path.stem) for path in (folder / "poses").glob("*.bin"))


def write_scene(folder: Path, content: Mapping[str, Any]) -> None:
    """Write scene.json, and what belongs to it."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
    persons = [{name: person[name] for name in ("id", "segments")} for person in content["persons"]]
    segments = json.dumps({"persons": persons}, ensure_ascii=False, allow_nan=False).encode()
    # Compressed once; windows of a long video are megabytes.
    for name, data in ((SCENE_NAME, text), (PACKED_NAME, gzip.compress(text, 5)), (SEGMENTS_NAME, segments)):
        with atomic_write(folder / name) as file:
            file.write(data)


def read_segments(folder: Path) -> list[dict[str, Any]]:
    """Return the persons of a finished job with their segments: dictionaries with `id` and `segments`.

    Raises:
        OSError: They cannot be read.
    """
    path = folder / SEGMENTS_NAME
    # Results of earlier versions have them in the scene only.
    text = (path if path.is_file() else folder / SCENE_NAME).read_text(encoding="utf-8")
    found: list[dict[str, Any]] = json.loads(text)["persons"]
    return found


def start_of(folder: Path, outcome: Mapping[str, Any]) -> float:
    """Return the time of the first frame for the player, in seconds from the beginning of the file.

    Args:
        folder: Folder with the results of a job.
        outcome: What the worker reported about it.

    Raises:
        OSError: It cannot be read.
    """
    stored = outcome.get("video", {}).get("start")
    if stored is None:
        # Results of earlier versions.
        stored = json.loads((folder / SCENE_NAME).read_text(encoding="utf-8"))["video"]["start"]
    return float(stored)


def _between(rows: np.ndarray, start: float, end: float) -> np.ndarray:
    first, last = np.searchsorted(rows["time"], [start, end])
    return rows[first:last]


def pack_poses(folder: Path, offset: float, start: float, end: float) -> bytes:
    """Return the skeletons of a period as the binary format that `docs/serving.md` describes.

    Args:
        folder: Folder with the results of a job.
        offset: Seconds to add to the times of the stream.
        start: Start of the period in seconds, with the offset.
        end: End of the period, exclusive.
    """
    period = (start - offset, end - offset)
    frames = _between(read(folder / FRAMES_NAME, FRAME), *period)
    parts, persons = [(frames["time"] + offset).astype("<f8").tobytes()], []
    for person in persons_in(folder):
        rows = _between(read(poses_file(folder, person), POSE), *period)
        if not len(rows):
            continue
        persons.append({"id": person, "frames": len(rows)})
        joints = np.concatenate([rows["keypoint"], rows["score"][..., None]], axis=-1).astype("<f4").tobytes()
        parts += [(rows["time"] + offset).astype("<f8").tobytes(), joints, bytes(-len(joints) % 8)]
    header = json.dumps({"frames": len(frames), "persons": persons}).encode()
    header += b" " * (-(4 + len(header)) % 8)
    return b"".join([struct.pack("<I", len(header)), header, *parts])


def attention_of(folder: Path, offset: float, person: int) -> dict[str, list]:
    """Return times and attention (T, V) of a person, where 1 is the mean over the joints.

    Args:
        folder: Folder with the results of a job.
        offset: Seconds to add to the times of the stream.
        person: Track id.
    """
    rows = read(attention_file(folder, person), ATTENTION)
    return {
        "times": (rows["time"] + offset).tolist(),
        "values": np.round(rows["value"].astype(np.float64), 3).tolist(),
    }


def described_persons(
    folder: Path, windows: Mapping[int | None, list[dict]], segments: Mapping[int | None, list[dict]], offset: float
) -> Iterator[dict[str, Any]]:
    """Yield the persons of scene.json: first all persons together with the id null, if they were classified so.

    Args:
        folder: Folder with the poses.
        windows: Windows with probabilities, by track id.
        segments: Predictions, by track id.
        offset: Seconds to add to the times of the stream.
    """
    frames = read(folder / FRAMES_NAME, FRAME)
    if None in windows or None in segments:
        span = (float(frames["time"][0]), float(frames["time"][-1])) if len(frames) else (0.0, 0.0)
        yield _person(None, span, windows, segments, offset)
    for person in persons_in(folder):
        rows = read(poses_file(folder, person), POSE)
        yield _person(person, (float(rows["time"][0]), float(rows["time"][-1])), windows, segments, offset)


def _person(
    person: int | None,
    span: tuple[float, float],
    windows: Mapping[int | None, list[dict]],
    segments: Mapping[int | None, list[dict]],
    offset: float,
) -> dict[str, Any]:
    def moved(rows: list[dict]) -> list[dict]:
        return [row | {"start": row["start"] + offset, "end": row["end"] + offset} for row in rows]

    name = "all" if person is None else person
    return {
        "id": person,
        "start": span[0] + offset,
        "end": span[1] + offset,
        "windows": moved(windows.get(person, [])),
        "segments": [{"id": f"{name}-{number}", **row} for number, row in enumerate(moved(segments.get(person, [])))],
    }

"""OpenPose's folders: one file NAME_000000000000_keypoints.json for each frame."""

import json
import re
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

from pose_extraction.errors import AnnotationError
from pose_extraction.exchange.clips import Given, PoseClip, as_seconds, clip_without_persons
from pose_extraction.exchange.reading import numbers, read_json, whole
from pose_extraction.exchange.rows import Row, clip_from_rows, row_of
from pose_extraction.exchange.writing import triples
from pose_extraction.files import part_path

# Parts of a person that a skeleton file does not hold.
_DROPPED = {
    "face_keypoints_2d": "faces",
    "hand_left_keypoints_2d": "hands",
    "hand_right_keypoints_2d": "hands",
    "pose_keypoints_3d": "joints in 3D",
}
_NAME = re.compile(r"(?:(?P<video>.*)_)?(?P<frame>\d{1,12})_keypoints\.json")


def is_frame(path: Path) -> bool:
    """Whether the name of a file is that of one frame."""
    return _NAME.fullmatch(path.name) is not None


def read(path: Path, given: Given) -> list[PoseClip]:
    """Read a folder; each video in it, by the names of the files, is a clip. Faces, hands and 3D are ignored."""
    videos: dict[str, dict[int, Path]] = defaultdict(dict)
    for file in sorted(path.iterdir()) if path.is_dir() else ():
        match = _NAME.fullmatch(file.name)
        if match is not None:
            videos[match["video"] or ""][int(match["frame"])] = file
    if not videos:
        raise AnnotationError(f"{path}: must be a folder with files such as clip_000000000000_keypoints.json")
    several = len(videos) > 1
    clips = [_clip(name if several else "", files, path, given) for name, files in sorted(videos.items())]
    if not any(clip.num_persons for clip in clips):
        raise AnnotationError(f"{path}: contains no poses; nobody was found in its videos")
    return clips


def _clip(name: str, files: dict[int, Path], path: Path, given: Given) -> PoseClip:
    rows: list[Row] = []
    times: dict[int, float | None] = {}
    dropped: set[str] = set()
    for frame, file in files.items():
        data = read_json(file)
        people = data.get("people") if isinstance(data, dict) else None
        if not isinstance(people, list):
            raise AnnotationError(f'{file}: must have a list of "people"; it is not a file of OpenPose')
        times[frame] = as_seconds(data.get("time"))
        rows += [_row(frame, person, file) for person in people]
        dropped.update(part for person in people for key, part in _DROPPED.items() if _has_numbers(person.get(key)))
    if not rows and name:
        return clip_without_persons(name)
    clip = clip_from_rows(rows, str(path), given, frames=files, times=times, name=name)
    clip.dropped |= dropped
    return clip


def _has_numbers(values: Any) -> bool:
    return isinstance(values, list) and any(values)


def _row(frame: int, person: Any, file: Path) -> Row:
    if not isinstance(person, dict):
        raise AnnotationError(f"{file}: a person is {person!r:.80}, must be an object")
    flat = numbers(person.get("pose_keypoints_2d"), (-1, 3), f"{file}: pose_keypoints_2d")
    known = person.get("person_id")
    number = -1 if known in (None, []) else whole(known, f"{file}: person_id")
    return row_of(frame, None if number < 0 else number, flat)


def write(clip: PoseClip, path: Path) -> None:
    """Write a folder with one file per frame, which replace those of an earlier export.

    The folder appears whole: it never holds frames of two exports, even if the program is killed.

    Raises:
        AnnotationError: `path` is a file.
    """
    if path.exists() and not path.is_dir():
        raise AnnotationError(f"{path}: is a file, but OpenPose's frames need a folder; delete or move it")
    part, old = part_path(path), path.with_name(f".{path.name}.old")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        for row, frame in enumerate(clip.frame_index.tolist()):
            people = [_person(clip, person, row) for person in clip.persons_at(row)]
            text = json.dumps({"version": 1.3, "people": people, "time": float(clip.time[row])}, allow_nan=False)
            (part / f"{path.name}_{frame:012d}_keypoints.json").write_text(text, encoding="utf-8")
        _finish_earlier(path, old)
        if path.exists():
            path.rename(old)
        part.rename(path)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    _finish_earlier(path, old)


def _finish_earlier(path: Path, old: Path) -> None:
    """Bring the replacement of a folder to its end, where a killed program has left it.

    Args:
        path: The folder; does not exist if the program was killed before the new one was in its place.
        old: Its earlier content, if that is still there. Files other than frames stay, and so do folders.
    """
    if not old.is_dir():
        return
    if not path.exists():
        old.rename(path)
        return
    for other in [file for file in old.iterdir() if not is_frame(file)]:
        if not (path / other.name).exists():
            other.rename(path / other.name)
    shutil.rmtree(old)


def _person(clip: PoseClip, person: int, row: int) -> dict[str, list[Any]]:
    return {
        "person_id": [int(clip.track_id[person])],
        "pose_keypoints_2d": triples(clip.keypoint[person, row], clip.keypoint_score[person, row]),
        **{f"{part}_keypoints_2d": [] for part in ("face", "hand_left", "hand_right")},
        **{f"{part}_keypoints_3d": [] for part in ("pose", "face", "hand_left", "hand_right")},
    }

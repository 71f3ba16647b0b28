"""Formats whose files hold one person: the other persons of a clip have files such as clip_P3.trc."""

import glob
import re
from collections.abc import Sequence
from pathlib import Path

from pose_extraction.errors import AnnotationError

# As here, clip_P3, and as Pose2Sim does, with frames and steps of processing: clip_P3_0-99, clip_P3_0-99_filt. Other
# words may follow the number of a participant: study_P3_walk and study_P4_walk are two clips.
_PERSON = re.compile(r"(?P<clip>.+)_P(?P<person>\d{1,9})(?:_\d+-\d+(?P<step>_[A-Za-z]\w*)?)?")


def clip_path(path: Path) -> Path:
    """Return the path that the files of all persons of a clip have in common: clip.trc for clip_P3.trc."""
    match = _PERSON.fullmatch(path.stem)
    return path if match is None else path.with_name(f"{match['clip']}{match['step'] or ''}{path.suffix}")


def person_path(path: Path, number: int, persons: int) -> Path:
    """Return the file of a person: `path` itself if the clip has no other one."""
    return path if persons == 1 else path.with_name(f"{path.stem}_P{number}{path.suffix}")


def person_paths(path: Path, numbers: Sequence[int]) -> list[Path]:
    """Return the files of all persons of a clip, in their order."""
    return [person_path(path, number, len(numbers)) for number in numbers]


def refuse_other_persons(path: Path, numbers: Sequence[int]) -> None:
    """Refuse to write persons next to a file of another one, which would be read as a further person of the clip.

    Args:
        path: Path of the clip.
        numbers: Numbers of all persons to write.

    Raises:
        AnnotationError: There is such a file, as after an earlier export with other persons.
    """
    written = person_paths(path, numbers)
    for file in (path, *sorted(path.parent.glob(f"{glob.escape(path.stem)}_P*{path.suffix}"))):
        if file.is_file() and file not in written and clip_path(file) == path:
            raise AnnotationError(f"{file}: would be read as another person of the clip {path.stem}; delete or move it")


def files_of(path: Path) -> dict[int, Path]:
    """Return the existing files of a clip by the number of the person.

    Args:
        path: Path of the clip, or the file of one person; the others of its clip are found, too.

    Raises:
        AnnotationError: There is none, or a person has two.
    """
    path = clip_path(path)
    files = {0: path} if path.is_file() else {}
    for file in sorted(path.parent.glob(f"*{path.suffix}")):
        match = _PERSON.fullmatch(file.stem)
        if match is not None and clip_path(file) == path:
            person = int(match["person"])
            if person in files:
                raise AnnotationError(
                    f"{file}: has the same person as {files[person].name}; move other parts of a video to other folders"
                )
            files[person] = file
    if not files:
        raise AnnotationError(f"{path}: no such file; check the name")
    return files

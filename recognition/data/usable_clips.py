"""Which clips of a skeleton file can be used: each is checked, and added or left out with the reason."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.errors import AnnotationError, EmptyClipError
from pose_extraction.formats.annotations import UNLABELLED
from pose_extraction.formats.validation import clip_identifier
from recognition.data.clip import LeftOut
from recognition.data.clip_checks import check_clip
from recognition.data.sources.kinetics import KeypointFiles
from recognition.data.sources.stored_joints import Joints, StoredJoints
from recognition.settings import DataSettings


class UsableClips:
    """The usable clips of a file, and the reasons why others are left out.

    Args:
        path: The file, for messages.
        settings: `skip_bad` and `keypoint_files` are used.
        shape: Number of joints and of coordinates that the clips must have.
        num_classes: K; labels are -1 (unlabelled) to K - 1.
        leave_out_empty: Whether to leave out clips without persons even without `skip_bad`.

    Attributes:
        joints: Joints of each usable clip.
        annotations: Annotation of each usable clip.
        skipped: Sentences about everything that was left out.
    """

    def __init__(
        self, path: Path, settings: DataSettings, shape: tuple[int, int], num_classes: int, leave_out_empty: bool
    ) -> None:
        self.joints: list[Joints] = []
        self.annotations: list[dict[str, Any]] = []
        self.skipped: list[str] = []
        self._path, self._shape, self._num_classes = path, shape, num_classes
        self._skip_bad, self._leave_out_empty = settings.skip_bad, leave_out_empty
        self._files = KeypointFiles(path, settings.keypoint_files, look_inside=settings.skip_bad)
        self._indices: dict[str, int] = {}
        self._errors: dict[str, tuple[AnnotationError, int]] = {}

    def add(self, annotation: dict[str, Any], position: int) -> None:
        """Check a clip and add it, or leave it out.

        Raises:
            AnnotationError: The clip is malformed, and such clips are not left out.
        """
        name = self._name_of(annotation, position)
        if name is None:
            return
        try:
            check_clip(annotation, position, self._path, self._shape, self._num_classes)
            joints = _joints_of(annotation, name, self._files)
        except AnnotationError as error:
            empty = isinstance(error, EmptyClipError)
            if not (self._skip_bad or (empty and self._leave_out_empty)):
                raise _with_skip_option(error) from error
            self.skipped.append(str(error))
            self._errors[name] = error, annotation["label"] if empty else UNLABELLED
            return
        self._errors.pop(name, None)
        self._indices[name] = len(self.joints)
        self.joints.append(joints)
        self.annotations.append(annotation)

    def _name_of(self, annotation: dict[str, Any], position: int) -> str | None:
        """Return the id of a clip; None if it has none of its own and is left out."""
        try:
            name = clip_identifier(annotation, position, self._path)
            if name in self._indices:
                raise AnnotationError(f"{self._path}: clip {name!r} occurs twice; give each clip its own frame_dir")
        except AnnotationError as error:
            if not self._skip_bad:
                raise _with_skip_option(error) from error
            self.skipped.append(str(error))
            return None
        return name

    def splits(self, listed: dict[str, Sequence[str]]) -> dict[str, np.ndarray]:
        """Return the indices of each split's clips, int64, in ascending order.

        Raises:
            AnnotationError: A split lists a clip that is not in the file, and such names are not skipped.
        """
        splits = {}
        for split, names in listed.items():
            missing = [name for name in names if name not in self._indices and name not in self._errors]
            if missing:
                message = (
                    f"{self._path}: split {split!r} lists clip {missing[0]!r}, which has no annotation; remove it from "
                    "the split or extract its video"
                )
                if not self._skip_bad:
                    raise AnnotationError(message)
                self.skipped.append(f"{message} ({len(missing)} such names)" if len(missing) > 1 else message)
            splits[split] = np.array(sorted({self._indices[name] for name in names if name in self._indices}), np.int64)
        return splits

    def left_out(self, listed: dict[str, Sequence[str]]) -> list[LeftOut]:
        """Return the clips that were left out and have an id of their own."""
        return [
            LeftOut(
                name,
                str(error),
                frozenset(split for split, names in listed.items() if name in names),
                label,
                isinstance(error, EmptyClipError),
            )
            for name, (error, label) in self._errors.items()
        ]


def _with_skip_option(error: AnnotationError) -> AnnotationError:
    """Append the option that leaves the clip out to the message."""
    message = str(error)
    hint = "" if message.endswith("leave the clip out") else ", or leave the clip out"
    return AnnotationError(f"{message}{hint} (--skip-bad)")


def _joints_of(annotation: dict[str, Any], name: str, files: KeypointFiles) -> Joints:
    if "keypoint" in annotation:
        return StoredJoints(annotation["keypoint"], annotation.get("keypoint_score"))
    return files.joints_of(annotation, name)

"""The .pose files of pose-format, which sign language research uses with OpenPose and MediaPipe."""

from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.errors import AnnotationError
from pose_extraction.exchange.clips import Given, PoseClip, new_clip
from pose_extraction.exchange.dropping import DEPTH
from pose_extraction.exchange.names import JOINTS, indices_in
from pose_extraction.exchange.reading import library, read_bytes
from pose_extraction.exchange.rows import Row, clip_from_rows
from pose_extraction.files import atomic_write
from pose_extraction.skeleton import COCO17, LAYOUTS, OPENPOSE25

NAME = "pose"
# Components of bodies, as the library names them, whose third coordinate is not a length.
OPENPOSE, MEDIAPIPE = "pose_keypoints_2d", "POSE_LANDMARKS"


def read(path: Path, given: Given) -> list[PoseClip]:
    """Read the component that is a body; hands and faces are ignored."""
    pose = library("pose_format", NAME).Pose
    content = read_bytes(path)
    try:
        found = pose.read(content)
        data, score = np.ma.filled(found.body.data.astype(np.float32), np.nan), np.asarray(found.body.confidence)
        components = [(str(one.name), [str(name) for name in one.points]) for one in found.header.components]
        # The file has it in float32: 29.97, not 29.969999.
        fps, dimensions = float(str(np.float32(found.body.fps))), found.header.dimensions
    except (ValueError, TypeError, IndexError, ArithmeticError, MemoryError, BufferError, _struct_error()) as error:
        raise AnnotationError(f"{path}: is not a readable .pose file ({error}); it is damaged or truncated") from error
    name, joints, first = _body(components, path)
    data, score = data[:, :, first : first + len(joints)], score[:, :, first : first + len(joints)]
    dropped = {"faces and hands"} if len(components) > 1 else set()
    if name in (OPENPOSE, MEDIAPIPE):
        dropped |= {DEPTH} if np.nan_to_num(data[..., 2:]).any() else set()
        data = data[..., :2]
    data = np.where((score > 0)[..., None], data, np.nan)
    size = (int(dimensions.height), int(dimensions.width))
    known = size if min(size) > 0 else None
    if data.shape[1] == 1:
        keypoint, confidence = data.transpose(1, 0, 2, 3), score.transpose(1, 0, 2)
        clip = new_clip(given.joints or joints, keypoint, confidence, place=str(path), given=given, fps=fps, size=known)
    else:
        rows = [
            Row(frame, None, data[frame, person], score[frame, person])
            for frame, person in np.argwhere((score > 0).any(axis=-1)).tolist()
        ]
        clip = clip_from_rows(rows, str(path), given, joints=joints, frames=range(len(data)), fps=fps, size=known)
    clip.dropped |= dropped
    return [clip]


def _struct_error() -> type[Exception]:
    import struct

    return struct.error


def _body(components: list[tuple[str, list[str]]], path: Path) -> tuple[str, list[str], int]:
    """Return name, joints and first point of the component with the most joints of COCO-17."""
    first, best = 0, (0, "", [""], 0)
    for name, points in components:
        common = sum(index >= 0 for index in indices_in(points, COCO17.joints))
        if common > best[0]:
            best = (common, name, points, first)
        first += len(points)
    if not best[0]:
        raise AnnotationError(f"{path}: none of its components {[name for name, _ in components]} is a body")
    return best[1:]


def write(clip: PoseClip, path: Path) -> None:
    """Write one component with the joints of all persons, frame by frame."""
    package, header = library("pose_format", NAME), library("pose_format.pose_header", NAME)
    body = library("pose_format.numpy", NAME).NumPyPoseBody
    flat = clip.keypoint.shape[3] == 2
    layout = next((layout for layout in LAYOUTS.values() if layout.joints == clip.joints), None)
    bones = [] if layout is None else list(layout.bones)
    component = header.PoseHeaderComponent(
        _component(clip), list(clip.joints), bones, [(255, 0, 0)], "XYC" if flat else "XYZC"
    )
    height, width = clip.size or (0, 0)
    dimensions = header.PoseHeaderDimensions(width, height, 0)
    keypoint, score = np.nan_to_num(clip.keypoint).transpose(1, 0, 2, 3), clip.keypoint_score.transpose(1, 0, 2)
    made = package.Pose(header.PoseHeader(0.2, dimensions, [component]), body(clip.fps, keypoint, score))
    with atomic_write(path) as file:
        made.write(file)


def _component(clip: PoseClip) -> str:
    names: dict[tuple[str, ...], Any] = {OPENPOSE25.joints: OPENPOSE, JOINTS["mediapipe33"]: MEDIAPIPE}
    return str(names.get(clip.joints, "person"))

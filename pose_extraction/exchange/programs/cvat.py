"""CVAT for video 1.1: one track with a skeleton for each person.

Every frame is a key frame, because CVAT interpolates between key frames.
"""

from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from pose_extraction.errors import AnnotationError
from pose_extraction.exchange.clips import MOST_VALUES, Given, PoseClip
from pose_extraction.exchange.names import canonical
from pose_extraction.exchange.reading import read_xml, whole
from pose_extraction.exchange.rows import Row, clip_from_rows
from pose_extraction.exchange.writing import plain, write_text


def read(path: Path, given: Given) -> list[PoseClip]:
    """Read the skeletons of all tracks; in frames without one, a person is unseen."""
    root = read_xml(path)
    tracks = root.findall("track")
    shapes = [(track, shape) for track in tracks for shape in track.findall("skeleton")]
    if not shapes:
        raise AnnotationError(f"{path}: has no track with skeletons; export the task as CVAT for video 1.1")
    joints = list(dict.fromkeys(point.get("label", "") for _, shape in shapes for point in shape.findall("points")))
    place_of = {name: place for place, name in enumerate(joints)}
    rows = []
    for number, (track, shape) in enumerate(shapes):
        if shape.get("outside") == "1":
            continue
        place = f"{path}: skeleton {number}"
        frame, person = (whole(one.get(key), f"{place}: {key}") for one, key in ((shape, "frame"), (track, "id")))
        keypoint = np.full((len(joints), 2), np.nan, np.float32)
        for point in shape.findall("points"):
            if point.get("outside") != "1":
                keypoint[place_of[point.get("label", "")]] = _position(point.get("points", ""), place)
        seen = np.asarray(np.isfinite(keypoint).all(axis=1), np.float32)
        rows.append(Row(frame, person, keypoint, seen))
    size = root.find("meta/task/original_size") if root.find("meta/task") is not None else None
    every = _frames(root.findtext("meta/task/size"), [row.frame for row in rows], path)
    if len({canonical(name) for name in joints}) < len(joints):
        raise AnnotationError(f"{path}: two of the joints {', '.join(joints)} mean the same; rename one of them")
    clip = clip_from_rows(rows, str(path), given, joints=joints, frames=every, size=_size(size, path))
    clip.dropped |= _dropped(root, [shape for _, shape in shapes])
    return [clip]


def _dropped(root: Element, skeletons: list[Element]) -> set[str]:
    others = [one for parent in (*root.findall("track"), *root.findall("image")) for one in parent]
    found = {
        "shapes other than skeletons": any(one.tag not in ("skeleton", "attribute", "tag") for one in others),
        "tags": root.find(".//tag") is not None,
        "attributes": any(one.find(".//attribute") is not None for one in skeletons),
        "marks of occluded joints": any(point.get("occluded") == "1" for one in skeletons for point in one.iter()),
        "labels of tracks": len({track.get("label") for track in root.findall("track")}) > 1,
    }
    return {part for part, is_found in found.items() if is_found}


def _frames(text: str | None, present: list[int], path: Path) -> range | None:
    """Return the numbers of all frames, in the stride of the key frames; None if the file lacks their count."""
    count = 0 if text is None else whole(text, f"{path}: meta/task/size")
    if not present or not max(present) < count <= MOST_VALUES:
        return None
    return range(0, count, int(np.gcd.reduce(present)) or count)


def _position(text: str, place: str) -> tuple[float, float]:
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError as error:
        raise AnnotationError(f"{place}: a point is at {text!r:.40}, must be x,y; fix the file") from error
    return x, y


def _size(element: Element | None, path: Path) -> tuple[int, int] | None:
    if element is None:
        return None
    height, width = (whole(element.findtext(key), f"{path}: original_size: {key}") for key in ("height", "width"))
    return (height, width) if height > 0 and width > 0 else None


def write(clip: PoseClip, path: Path) -> None:
    """Write the tracks of all persons. CVAT numbers frames without gaps."""
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    task = SubElement(SubElement(root, "meta"), "task")
    SubElement(task, "size").text = str(int(clip.frame_index.max(initial=-1)) + 1)
    labels = SubElement(task, "labels")
    _label(labels, "person", "skeleton", None)
    for joint in clip.joints:
        _label(labels, joint, "points", "person")
    if clip.size is not None:
        size = SubElement(task, "original_size")
        SubElement(size, "width").text, SubElement(size, "height").text = str(clip.size[1]), str(clip.size[0])
    for person, number in enumerate(clip.track_id.tolist()):
        track = SubElement(root, "track", id=str(number), label="person", source="auto")
        present = clip.seen[person].any(axis=-1)
        for row, frame in enumerate(clip.frame_index.tolist()):
            if present[row] or (row and present[row - 1]):
                _skeleton(track, clip, person, row, frame, outside=not present[row])
    write_text(path, '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, "unicode") + "\n")


def _label(labels: Element, name: str, kind: str, parent: str | None) -> None:
    label = SubElement(labels, "label")
    SubElement(label, "name").text = name
    SubElement(label, "type").text = kind
    SubElement(label, "attributes")
    if parent is not None:
        SubElement(label, "parent").text = parent


def _skeleton(track: Element, clip: PoseClip, person: int, row: int, frame: int, *, outside: bool) -> None:
    shape = SubElement(track, "skeleton", frame=str(frame), keyframe="1", z_order="0")
    shape.set("outside", str(int(outside)))
    for joint, name in enumerate(clip.joints):
        position = clip.keypoint[person, row, joint]
        hidden = str(int(not np.isfinite(position).all()))
        x, y = plain(position)
        SubElement(
            shape, "points", label=name, frame=str(frame), keyframe="1", outside=hidden, occluded="0", points=f"{x},{y}"
        )

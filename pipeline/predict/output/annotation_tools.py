"""Predictions for tools in which videos are annotated: tracks of CVAT, time lines of Label Studio."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from pipeline.predict.answers import Answer
from pipeline.predict.output.frames import ClipFrames
from pipeline.predict.output.spans import Span, spans_of

PERSON, ACTION, NOTHING = "person", "action", ""


def as_cvat(clip: str, answers: Sequence[Answer], frames: ClipFrames | None) -> str:
    """Return the predictions of a clip as CVAT for video 1.1: a track of boxes per person, with the action.

    Every frame is a key frame, because CVAT interpolates between key frames. Where nothing is predicted for a person,
    the prediction for all persons together counts.
    """
    frames = frames or ClipFrames((0, 0))
    spans = spans_of(answers)
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    task = SubElement(SubElement(root, "meta"), "task")
    SubElement(task, "name").text = clip
    SubElement(task, "size").text = str(max(frames.frame_index, default=-1) + 1)
    label = SubElement(SubElement(task, "labels"), "label")
    SubElement(label, "name").text = PERSON
    attribute = SubElement(SubElement(label, "attributes"), "attribute")
    for key, value in (("name", ACTION), ("mutable", "True"), ("input_type", "select"), ("default_value", NOTHING)):
        SubElement(attribute, key).text = value
    SubElement(attribute, "values").text = "\n".join([NOTHING, *sorted({span.label for span in spans})])
    size = SubElement(task, "original_size")
    SubElement(size, "width").text, SubElement(size, "height").text = str(frames.size[1]), str(frames.size[0])
    for person, boxes in frames.boxes.items():
        track = SubElement(root, "track", id=str(person), label=PERSON, source="auto")
        actions = _actions(person, spans, frames)
        last: np.ndarray | None = None
        for number, action in zip(frames.frame_index, actions, strict=True):
            box = boxes.get(number)
            if box is not None or last is not None:
                _box(track, number, last if box is None else box, action, outside=box is None)
            last = box
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, "unicode") + "\n"


def _actions(person: int, spans: Sequence[Span], frames: ClipFrames) -> list[str]:
    """Return the action of a person in each frame."""
    actions = [NOTHING] * len(frames.time)
    for who in (None, person):
        for span in spans:
            if span.person == who:
                rows = frames.rows(span.start, span.end)
                actions[rows] = [span.label] * len(actions[rows])
    return actions


def _box(track: Element, frame: int, box: Any, action: str, *, outside: bool) -> None:
    shape = SubElement(track, "box", frame=str(frame), keyframe="1", outside=str(int(outside)), occluded="0")
    for key, value in zip(("xtl", "ytl", "xbr", "ybr"), box.tolist(), strict=True):
        shape.set(key, f"{value:.2f}")
    shape.set("z_order", "0")
    SubElement(shape, "attribute", name=ACTION).text = action


def as_labelstudio(answers: Mapping[str, Sequence[Answer]], frames: Mapping[str, ClipFrames]) -> str:
    """Return all clips as tasks of Label Studio, with the predictions on a time line of the video.

    The labelling interface needs `<Video name="video" value="$video" frameRate="$fps"/>` and
    `<TimelineLabels name="actions" toName="video">`. Frames are counted from 1.
    """
    tasks = []
    for clip, of_clip in answers.items():
        known = frames.get(clip) or ClipFrames((0, 0))
        results = [_region(number, span, known) for number, span in enumerate(spans_of(of_clip)) if known.time]
        tasks.append(
            {
                "data": {"video": clip, "fps": round(known.rate, 6)},
                "predictions": [{"model_version": "skelpipe", "result": results}],
            }
        )
    return json.dumps(tasks, ensure_ascii=False, indent=1) + "\n"


def _region(number: int, span: Span, frames: ClipFrames) -> dict[str, Any]:
    numbers = frames.frame_index[frames.rows(span.start, span.end)]
    return {
        "id": f"p{number}",
        "from_name": "actions",
        "to_name": "video",
        "type": "timelinelabels",
        "value": {
            "ranges": [{"start": numbers[0] + 1, "end": numbers[-1] + 1}],
            "timelinelabels": [span.label],
        },
        "meta": {"text": [span.who]},
        # The probability of an unknown action is that of the action that was rejected.
        **({"score": round(span.probability, 6)} if span.rejected is None else {}),
    }

"""AlphaPose's results: a list of poses with "image_id", "keypoints", "score", "box" and, with tracking, "idx"."""

import re
from pathlib import Path, PurePosixPath

from pose_extraction.errors import AnnotationError
from pose_extraction.exchange.clips import Given, PoseClip, as_seconds
from pose_extraction.exchange.dropping import BOXES, POSE_SCORES, held
from pose_extraction.exchange.reading import numbers, read_json, whole
from pose_extraction.exchange.rows import Row, clip_from_rows, row_of
from pose_extraction.exchange.writing import corner_box, triples, write_json


def read(path: Path, given: Given) -> list[PoseClip]:
    """Read results; the last number in "image_id" is that of the frame."""
    entries = read_json(path)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise AnnotationError(f"{path}: must be a list of poses, as AlphaPose writes with --format coco, its default")
    rows: list[Row] = []
    times: dict[int, float | None] = {}
    for number, entry in enumerate(entries):
        place = f"{path}: pose {number}"
        digits = re.findall(r"\d{1,12}", PurePosixPath(str(entry.get("image_id", ""))).name)
        if not digits:
            raise AnnotationError(f"{place}: image_id is {entry.get('image_id')!r:.80}, which has no frame number")
        frame = int(digits[-1])
        person = entry.get("idx")
        ident = None if person is None else whole(person, f"{place}: idx")
        rows.append(row_of(frame, ident, numbers(entry.get("keypoints"), (-1, 3), f"{place}: keypoints")))
        times[frame] = as_seconds(entry.get("time"))
    clip = clip_from_rows(rows, str(path), given, times=times)
    clip.dropped |= held(entries, {"box": BOXES, "score": POSE_SCORES})
    return [clip]


def write(clip: PoseClip, path: Path) -> None:
    """Write results, with one entry per pose."""
    box, score = clip.box(), clip.mean_score()
    write_json(
        path,
        [
            {
                "image_id": f"{frame}.jpg",
                "category_id": 1,
                "keypoints": triples(clip.keypoint[person, row], clip.keypoint_score[person, row]),
                "score": round(float(score[person, row]), 6),
                "box": corner_box(box[person, row]),
                "idx": int(clip.track_id[person]),
                "time": float(clip.time[row]),
            }
            for row, frame in enumerate(clip.frame_index.tolist())
            for person in clip.persons_at(row)
        ],
    )

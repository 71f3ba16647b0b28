"""`skelpipe convert`: folders of NTU RGB+D's and PKU-MMD's text files into one skeleton file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.kinect_text import clean, read_ntu_text, read_pku_labels, read_pku_split, read_pku_text
from pipeline.ntu import applicable_splits, incomplete_clips, ntu_name
from pose_extraction.annotations import UNLABELLED
from pose_extraction.errors import AnnotationError, UsageError
from pose_extraction.pickles import write_pickle

KINDS = ("ntu", "pkummd")
PKU_CLASSES = 51
# Of the Kinect.
FRAMES_A_SECOND = 30.0
# Folders and files of PKU-MMD, as both of its phases come, wherever below the given one they lie.
PKU_LABELS = "*[Ll]abel*"
PKU_SPLITS = {"xsub": "cross[-_]subject*.txt", "xview": "cross[-_]view*.txt"}


@dataclass(frozen=True)
class Converted:
    """What was done.

    Args:
        path: The skeleton file.
        clips: How many clips it has.
        left_out: Malformed files that it has not, a sentence each.
        notes: What else it has not, a sentence for each kind.
    """

    path: Path
    clips: int
    left_out: tuple[str, ...]
    notes: tuple[str, ...] = ()


def convert(
    kind: str,
    folder: Path,
    out: Path,
    *,
    untrimmed: bool = False,
    keep_incomplete: bool = False,
    skip_bad: bool = False,
) -> Converted:
    """Reads all text files below a folder, and writes them as one skeleton file in 3D.

    Args:
        kind: "ntu" or "pkummd".
        folder: Where the files are.
        out: The skeleton file to write.
        untrimmed: Of PKU-MMD, whole videos with their actions, for detection, in place of a clip for each action.
        keep_incomplete: Of NTU RGB+D, also the clips that its authors list as missing or incomplete.
        skip_bad: Whether to go on without files that are malformed.

    Raises:
        UsageError: There is no such kind, what was asked for is of the other one, or there is nothing to read.
        AnnotationError: A file is malformed; nothing is written.
    """
    if kind not in KINDS:
        raise UsageError(f"there is no kind {kind!r} of text files; there are {', '.join(KINDS)}")
    if untrimmed and kind == "ntu":
        raise UsageError("NTU RGB+D has no untrimmed videos; leave --untrimmed out, or convert pkummd")
    if keep_incomplete and kind != "ntu":
        raise UsageError("only NTU RGB+D has a list of incomplete clips; leave --keep-incomplete out, or convert ntu")
    left_out: list[str] = []
    notes: list[str] = []
    bad = left_out if skip_bad else None
    data = _ntu(folder, keep_incomplete, bad, notes) if kind == "ntu" else _pku(folder, untrimmed, bad)
    if not data["annotations"]:
        reasons = [*notes, *(f"the first that is malformed: {message}" for message in left_out[:1])]
        raise UsageError("; ".join([f"{folder}: no clip could be read", *reasons]))
    write_pickle(out, data)
    return Converted(out, len(data["annotations"]), tuple(left_out), tuple(notes))


def _ntu(folder: Path, keep_incomplete: bool, bad: list[str] | None, notes: list[str]) -> dict[str, Any]:
    paths = sorted(folder.rglob("*.skeleton"))
    if not paths:
        raise UsageError(f"{folder}: there is no file *.skeleton in it; name the folder of NTU's skeletons")
    annotations: list[dict[str, Any]] = []
    split: dict[str, list[str]] = {}
    incomplete: list[str] = []
    empty: list[str] = []
    met: dict[str, Path] = {}
    for path in paths:
        name = ntu_name(path.stem)
        if name is not None and name.text in incomplete_clips() and not keep_incomplete:
            incomplete.append(name.text)
            continue
        try:
            if name is None:
                raise AnnotationError(
                    f"{path}: its name is none of NTU's, such as S001C001P001R001A001.skeleton; rename it"
                )
            if name.text in met:
                raise AnnotationError(f"{path}: is the clip of {met[name.text]} again; take one of the files out")
            met[name.text] = path
            keypoint = clean(*read_ntu_text(path))
        except AnnotationError as error:
            _leave_out(error, bad)
            continue
        if not len(keypoint):
            empty.append(name.text)
            continue
        annotations.append(_annotation(name.text, name.action - 1, keypoint))
        for part in name.splits:
            split.setdefault(part, []).append(name.text)
    if incomplete:
        notes.append(
            f"{len(incomplete)} clips are left out that NTU's authors list as missing or incomplete; "
            "--keep-incomplete takes them"
        )
    if empty:
        notes.append(f"{len(empty)} clips are left out in which the Kinect found nobody, such as {empty[0]}")
    last = max((annotation["label"] for annotation in annotations), default=-1) + 1
    names = [f"A{number + 1:03d}" for number in range(last)]
    return {"split": applicable_splits(split), "annotations": annotations, "label_names": names}


def _pku(folder: Path, untrimmed: bool, bad: list[str] | None) -> dict[str, Any]:
    splits = {
        f"{name}_{side}": videos
        for name, pattern in PKU_SPLITS.items()
        for path in sorted(folder.rglob(pattern))[:1]
        for side, videos in read_pku_split(path).items()
    }
    if not splits:
        raise UsageError(
            f"{folder}: there is no cross-subject.txt or cross-view.txt in it, or cross_subject_v2.txt or "
            "cross_view_v2.txt; name PKU-MMD's whole folder"
        )
    texts = [path for path in sorted(folder.rglob("*.txt")) if not any(map(path.match, PKU_SPLITS.values()))]
    # What the folder itself lies in says nothing of what is in it.
    labelled = {
        path.stem: path for path in texts if any(part.match(PKU_LABELS) for part in path.relative_to(folder).parents)
    }
    skeletons = {path.stem: path for path in texts if path not in labelled.values()}
    annotations: list[dict[str, Any]] = []
    clips_of: dict[str, list[str]] = {}
    for video in dict.fromkeys(name for videos in splits.values() for name in videos):
        try:
            if video not in skeletons or video not in labelled:
                what = "skeleton" if video not in skeletons else "label"
                raise AnnotationError(f"{folder}: video {video!r} of a split has no {what} file; fetch it")
            keypoint = read_pku_text(skeletons[video])
            actions = read_pku_labels(labelled[video], classes=PKU_CLASSES, num_frames=keypoint.shape[1])
        except AnnotationError as error:
            _leave_out(error, bad)
            continue
        made = _whole(video, keypoint, actions) if untrimmed else _trimmed(video, keypoint, actions)
        annotations.extend(made)
        clips_of[video] = [annotation["frame_dir"] for annotation in made]
    names = {name: [clip for video in videos for clip in clips_of.get(video, [])] for name, videos in splits.items()}
    return {
        "split": names,
        "annotations": annotations,
        "label_names": [f"A{number + 1:02d}" for number in range(PKU_CLASSES)],
    }


def _whole(video: str, keypoint: np.ndarray, actions: Sequence[tuple[int, int, int]]) -> list[dict[str, Any]]:
    return [{**_annotation(video, UNLABELLED, keypoint), "actions": [list(action) for action in actions]}]


def _trimmed(video: str, keypoint: np.ndarray, actions: Sequence[tuple[int, int, int]]) -> list[dict[str, Any]]:
    """A clip for each action in which somebody is seen."""
    clips = []
    for number, (label, start, end) in enumerate(actions):
        part = keypoint[:, start:end]
        there = part.any(axis=(1, 2, 3))
        if there.any():
            clips.append(_annotation(f"{video}_{number:03d}", label, part[there]))
    return clips


def _annotation(name: str, label: int, keypoint: np.ndarray) -> dict[str, Any]:
    return {
        "frame_dir": name,
        "label": label,
        "total_frames": keypoint.shape[1],
        "keypoint": keypoint.astype(np.float32),
        "fps": FRAMES_A_SECOND,
    }


def _leave_out(error: AnnotationError, bad: list[str] | None) -> None:
    if bad is None:
        raise AnnotationError(f"{error} (--skip-bad goes on without it)") from error
    bad.append(str(error))

"""`skelpipe convert`: converts the text files of NTU RGB+D or PKU-MMD to one skeleton file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.datasets.kinect_text import clean, read_ntu_text, read_pku_labels, read_pku_split, read_pku_text
from pipeline.inputs.ntu import applicable_splits, incomplete_clips, ntu_name
from pose_extraction.errors import AnnotationError, UsageError, counted
from pose_extraction.formats.annotations import UNLABELLED
from pose_extraction.formats.pickle_writing import write_pickle

KINDS = ("ntu", "pkummd")
PKU_CLASSES = 51
# Frame rate of the Kinect.
FRAMES_PER_SECOND = 30.0
# Names of folders and files in both phases of PKU-MMD, at any depth below the given folder.
PKU_LABELS = "*[Ll]abel*"
PKU_SPLITS = {"xsub": "cross[-_]subject*.txt", "xview": "cross[-_]view*.txt"}


@dataclass(frozen=True)
class Converted:
    """Result of a conversion.

    Args:
        path: The skeleton file.
        clips: Number of clips in it.
        left_out: Errors of malformed files that were skipped.
        notes: Other omissions, one sentence for each kind.
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
    """Reads all text files below a folder and writes one 3D skeleton file.

    Args:
        kind: "ntu" or "pkummd".
        folder: Folder of the text files.
        out: The skeleton file to write.
        untrimmed: PKU-MMD only: whole videos with their actions, for detection, instead of one clip per action.
        keep_incomplete: NTU RGB+D only: keep the clips that its authors list as missing or incomplete.
        skip_bad: Whether to skip malformed files.

    Raises:
        UsageError: The kind is unknown, an option does not apply to it, or there is no file to read.
        AnnotationError: A file is malformed; nothing is written.
    """
    if kind not in KINDS:
        raise UsageError(f"unknown data set {kind!r}; must be one of {', '.join(KINDS)}")
    if untrimmed and kind == "ntu":
        raise UsageError("--untrimmed: NTU RGB+D has no untrimmed videos; leave it out, or convert pkummd")
    if keep_incomplete and kind != "ntu":
        raise UsageError(
            "--keep-incomplete: only NTU RGB+D has a list of incomplete clips; leave it out, or convert ntu"
        )
    left_out: list[str] = []
    notes: list[str] = []
    bad = left_out if skip_bad else None
    data = _ntu(folder, keep_incomplete, bad, notes) if kind == "ntu" else _pku(folder, untrimmed, bad)
    if not data["annotations"]:
        reasons = [*notes, *(f"first error: {message}" for message in left_out[:1])]
        raise UsageError("; ".join([f"{folder}: no clip could be read", *reasons]))
    write_pickle(out, data)
    return Converted(out, len(data["annotations"]), tuple(left_out), tuple(notes))


def _ntu(folder: Path, keep_incomplete: bool, bad: list[str] | None, notes: list[str]) -> dict[str, Any]:
    paths = sorted(folder.rglob("*.skeleton"))
    if not paths:
        raise UsageError(f"{folder}: contains no *.skeleton files; give the folder of the NTU skeletons")
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
                    f"{path}: not an NTU name, such as S001C001P001R001A001.skeleton; rename the file"
                )
            if name.text in met:
                raise AnnotationError(f"{path}: same clip as {met[name.text]}; remove one of the files")
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
            f"skipped {counted(len(incomplete), 'clip')} that NTU's authors list as missing or incomplete; "
            "use --keep-incomplete to keep them"
        )
    if empty:
        notes.append(f"skipped {counted(len(empty), 'clip')} without persons, such as {empty[0]}")
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
            f"{folder}: contains none of cross-subject.txt, cross-view.txt, cross_subject_v2.txt and "
            "cross_view_v2.txt; give the whole PKU-MMD folder"
        )
    texts = [path for path in sorted(folder.rglob("*.txt")) if not any(map(path.match, PKU_SPLITS.values()))]
    # Relative to the folder, because the names of its parents say nothing about its contents.
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
                raise AnnotationError(f"{folder}: video {video!r} of a split has no {what} file; download it")
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
    """One clip for each action that shows at least one person."""
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
        "fps": FRAMES_PER_SECOND,
    }


def _leave_out(error: AnnotationError, bad: list[str] | None) -> None:
    if bad is None:
        raise AnnotationError(f"{error} (use --skip-bad to skip such files)") from error
    bad.append(str(error))

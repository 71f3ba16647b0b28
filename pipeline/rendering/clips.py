"""Drawn clips on the disk: an mp4 each, and one skeleton file with what is true of all of them."""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from pipeline.rendering.actions import ACTIONS
from pipeline.rendering.family import FAMILIES, Family, family_named
from pipeline.rendering.interactions import INTERACTIONS
from pipeline.rendering.scene import OUTSIDE, Scene
from pose_extraction.annotations import annotation_from, data_set, write_pickle
from pose_extraction.errors import SkelpipeError, UsageError
from pose_extraction.poses import PoseTrack, VideoPoses
from pose_extraction.video_writer import VideoWriter

TRUTH = "truth"


@dataclass(frozen=True)
class Clip:
    """One clip to draw.

    Args:
        identifier: Its id in the data set, and its path below the folder without suffix.
        scene: What it shows.
        split: The split that it belongs to; None for none.
    """

    identifier: str
    scene: Scene
    split: str | None = None


def write_clip(clip: Clip, folder: Path) -> dict[str, Any]:
    """Draws a clip into `folder`/identifier.mp4 and returns the truth of it, as an annotation in PYSKL's format.

    A joint outside of the picture counts as not seen; one that something hides has its true place and score 1 like the
    others. Beside the usual fields there are `visibility` (M, T, 17), of `scene.OUTSIDE`, `HIDDEN`, `SEEN`; `box` (M,
    T, 4) in pixels; `person_action`, what each person does; and `family`.

    Raises:
        VideoError: The video cannot be written.
    """
    scene = clip.scene
    path = folder / f"{clip.identifier}.mp4"
    truths = []
    with VideoWriter(path, scene.fps, scene.size) as writer:
        for index in range(len(scene)):
            picture, truth = scene.frame(index)
            writer.write(picture, float(scene.time[index]))
            truths.append(truth)
    visibility = np.stack([truth.visibility for truth in truths], 1)
    keypoint = np.stack([truth.keypoint for truth in truths], 1)
    box = np.stack([truth.box for truth in truths], 1)
    keypoint = np.where((visibility == OUTSIDE)[..., None], np.nan, keypoint).astype(np.float32)
    frames = len(scene)
    tracks = [
        PoseTrack(
            track_id=person,
            start=0,
            keypoint=keypoint[person],
            keypoint_score=(visibility[person] != OUTSIDE).astype(np.float32),
            box=box[person],
            box_score=np.ones(frames, np.float32),
            imputed=np.zeros((frames, keypoint.shape[2]), bool),
        )
        for person in range(len(keypoint))
    ]
    annotation = annotation_from(
        VideoPoses(np.arange(frames), scene.time, scene.size, tracks),
        frame_dir=clip.identifier,
        estimator=TRUTH,
        fps=scene.fps,
        source=f"{clip.identifier}.mp4",
        label_name=scene.label,
    )
    return annotation | {
        "visibility": visibility,
        "box": box,
        "person_action": list(scene.actions),
        "family": scene.family.name,
    }


def write_clips(clips: Iterable[Clip], folder: Path, progress: Callable[[Clip], None] | None = None) -> Path:
    """Draws clips below `folder` and writes `folder`/truth.pkl, with their splits.

    Args:
        clips: What to draw.
        folder: Where; made if need be.
        progress: Called with each clip when it is on the disk.

    Returns:
        The skeleton file.

    Raises:
        VideoError, AnnotationError: Something cannot be written.
    """
    annotations: list[dict[str, Any]] = []
    split: dict[str, list[str]] = {}
    for clip in clips:
        annotations.append(write_clip(clip, folder))
        if clip.split is not None:
            split.setdefault(clip.split, []).append(clip.identifier)
        if progress is not None:
            progress(clip)
    path = folder / f"{TRUTH}.pkl"
    write_pickle(path, data_set(annotations, split))
    return path


def clips_of(
    family: Family,
    actions: Sequence[str],
    each: int,
    *,
    seed: int = 0,
    split: str | None = None,
    size: tuple[int, int] = (240, 320),
    frames: int = 60,
    fps: float = 20.0,
    persons: int | None = None,
) -> Iterator[Clip]:
    """Yields so many clips of each action, in folders named after the actions.

    Args:
        family: Whose people do it, and where.
        actions: Of `ACTIONS` and `INTERACTIONS`.
        each: Clips of each action.
        seed: Clips of other seeds show other people.
        split: The split that they belong to.
        size: As for `Scene`.
        frames: Likewise.
        fps: Likewise.
        persons: As for `Scene`, in clips of actions of one person.
    """
    for number, action in enumerate(actions):
        for count in range(each):
            scene = Scene(
                family,
                seed * 1_000_000 + count * 1000 + number,
                size=size,
                frames=frames,
                fps=fps,
                action=action,
                persons=None if action in INTERACTIONS else persons,
            )
            yield Clip(f"{action}/{family.name}_{seed}_{count:03d}", scene, split)


def main() -> None:
    """Reads the command line."""
    known = (*ACTIONS, *INTERACTIONS)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/rendered"), help="folder (default: %(default)s)")
    parser.add_argument("--family", default="test", help=f"one of {', '.join(FAMILIES)} (default: %(default)s)")
    parser.add_argument("--actions", nargs="+", default=list(known), help="actions to draw (default: all)")
    parser.add_argument("--each", type=int, default=1, help="clips of each action (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="other seeds show other people (default: %(default)s)")
    parser.add_argument("--persons", type=int, default=None, help="1, 2 or 3 (default: as it comes)")
    parser.add_argument("--frames", type=int, default=60, help="frames a clip (default: %(default)s)")
    parser.add_argument("--size", type=int, nargs=2, default=[240, 320], help="height and width (default: 240 320)")
    arguments = parser.parse_args()
    console = Console()

    def told(clip: Clip) -> None:
        console.print(f"{arguments.out / clip.identifier}.mp4", highlight=False, soft_wrap=True)

    try:
        if arguments.each < 1:
            raise UsageError(f"--each {arguments.each}: give at least one clip of each action")
        clips = clips_of(
            family_named(arguments.family),
            arguments.actions,
            arguments.each,
            seed=arguments.seed,
            split=arguments.family,
            size=tuple(arguments.size),
            frames=arguments.frames,
            persons=arguments.persons,
        )
        path = write_clips(clips, arguments.out, told)
    except SkelpipeError as error:
        sys.exit(f"{parser.prog}: {error}")
    console.print(str(path), highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()

"""Write rendered clips: one mp4 per clip, and one skeleton file with the ground truth of all."""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from pose_extraction.errors import SkelpipeError, UsageError
from pose_extraction.formats.annotations import annotation_from, data_set
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.poses import PoseTrack, VideoPoses
from pose_extraction.video.writer import VideoWriter
from synthetic.rendering.actions import ACTIONS
from synthetic.rendering.family import FAMILIES, Family, family_named
from synthetic.rendering.interactions import INTERACTIONS
from synthetic.rendering.scene import OUTSIDE, Scene

TRUTH = "truth"


@dataclass(frozen=True)
class Clip:
    """A clip to render.

    Args:
        identifier: Its id in the data set, and its path below the folder without suffix.
        scene: Its content.
        split: Name of its split, or None.
    """

    identifier: str
    scene: Scene
    split: str | None = None


def write_clip(clip: Clip, folder: Path) -> dict[str, Any]:
    """Render a clip to `folder`/identifier.mp4 and return its ground truth as an annotation in PYSKL's format.

    A joint outside the image is unseen; an occluded joint has its true position and score 1. Additional fields are
    `visibility` (M, T, 17), one of `scene.OUTSIDE`, `HIDDEN`, `SEEN`; `box` (M, T, 4) in pixels; `person_action`, the
    action of each person; and `family`.

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
    """Render clips below `folder` and write `folder`/truth.pkl, with their splits.

    Args:
        clips: Clips to render.
        folder: Output folder; created if necessary.
        progress: Called with each finished clip.

    Returns:
        The skeleton file.

    Raises:
        VideoError, AnnotationError: A file cannot be written.
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
    """Yield clips of each action, in folders named after the actions.

    Args:
        family: Family of the people and places.
        actions: Names in `ACTIONS` and `INTERACTIONS`.
        each: Number of clips per action.
        seed: Random seed; different seeds show different people.
        split: Name of the split, or None.
        size: (height, width) of the image in pixels.
        frames: Number of frames.
        fps: Frames per second.
        persons: See `Scene`; only for clips of actions of one person.
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
    """Run the command line."""
    known = (*ACTIONS, *INTERACTIONS)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/rendered"), help="output folder (default: %(default)s)")
    parser.add_argument("--family", default="test", help=f"one of {', '.join(FAMILIES)} (default: %(default)s)")
    parser.add_argument("--actions", nargs="+", default=list(known), help="actions to render (default: all)")
    parser.add_argument("--each", type=int, default=1, help="number of clips per action (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    parser.add_argument("--persons", type=int, default=None, help="1, 2 or 3 (default: random)")
    parser.add_argument("--frames", type=int, default=60, help="frames per clip (default: %(default)s)")
    parser.add_argument("--size", type=int, nargs=2, default=[240, 320], help="height and width (default: 240 320)")
    arguments = parser.parse_args()
    console = Console()

    def show(clip: Clip) -> None:
        console.print(f"{arguments.out / clip.identifier}.mp4", highlight=False, soft_wrap=True)

    try:
        if arguments.each < 1:
            raise UsageError(f"--each {arguments.each}: must be at least 1")
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
        path = write_clips(clips, arguments.out, show)
    except SkelpipeError as error:
        sys.exit(f"{parser.prog}: {error}")
    console.print(str(path), highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()

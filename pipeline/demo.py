"""`make demo`: the whole of stage one on a clip made on the spot, where neither a video nor weights can be had.

The network's weights are random and the persons' boxes are the ones that the clip was drawn with. It shows that the
installation works and what the files are like; the joints that it finds mean nothing. What results look like is shown
with the joints that the clip was drawn with.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from pipeline.extract import Share, extract
from pipeline.rendering.clips import Clip, write_clips
from pipeline.rendering.family import TEST
from pipeline.rendering.scene import Scene
from pipeline.settings import ExtractSettings
from pipeline.statistics import print_table, statistics_of
from pose_extraction.annotations import read_data_set
from pose_extraction.detection import Detections
from pose_extraction.extraction import ExtractionSettings, follow
from pose_extraction.overlay import write_overlay
from pose_extraction.poses import FramePoses

SIZE, FPS, FRAMES = (360, 640), 25.0, 75
# Of a clip in which both persons can be seen well.
ACTION, PERSONS, SCENE = "wave", 2, 11
ESTIMATOR, SEED = "vitpose-s", 0


class ScriptedDetector:
    """Gives the boxes that a clip's persons were drawn with, frame after frame, instead of looking at the picture.

    Args:
        boxes: (K, 4) in pixels of each frame that will be shown, in their order.
    """

    batch_size = 4

    def __init__(self, boxes: Iterable[np.ndarray]) -> None:
        self._boxes = iter(boxes)

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """See `Detector.detect`."""
        found = [next(self._boxes) for _ in images]
        return [(box, np.ones(len(box), np.float32)) for box in found]


def known_poses(truth: dict[str, Any]) -> list[FramePoses]:
    """The joints that a clip's persons were drawn with, as an estimator that never errs would find them."""
    score = truth["keypoint_score"]
    keypoint = np.where(score[..., None] > 0, truth["keypoint"], np.nan)
    sure = np.ones(len(score), np.float32)
    return [
        FramePoses(frame, float(time), truth["box"][:, frame], sure, keypoint[:, frame], score[:, frame])
        for frame, time in enumerate(truth["time"])
    ]


def demo(folder: Path, console: Console) -> None:
    """Makes a clip, extracts its poses with random weights, and says what it does.

    Args:
        folder: Where everything is written; what an earlier demo left there is replaced.
        console: Where it is told.

    Raises:
        SkelpipeError: The network cannot be built, or the results cannot be written.
    """

    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    videos = folder / "videos"
    say(f"\n1. Making a clip: {PERSONS} drawn people, {FRAMES} frames.")
    scene = Scene(TEST, SCENE, size=SIZE, frames=FRAMES, fps=FPS, action=ACTION, persons=PERSONS)
    truth_file = write_clips([Clip("two_people", scene)], videos)
    video = videos / "two_people.mp4"
    say(f"   {video}")
    say(f"   {truth_file}  what is true of it: joints, visibility, boxes, identities, actions")
    truth = read_data_set(truth_file)["annotations"][0]

    say(f"\n2. Extracting poses with {ESTIMATOR}. Its weights are RANDOM (seed {SEED}): the joints mean nothing.")
    say("   The boxes around the persons are those that the people were drawn with; no detector looks for them.")
    settings = ExtractSettings(estimator=ESTIMATOR, checkpoint=f"seed:{SEED}", detect_every=1, overlay=True)
    report = extract(
        [video],
        folder / "skeletons",
        settings=settings,
        share=Share(overwrite=True),
        console=console,
        detector=ScriptedDetector(truth["box"].transpose(1, 0, 2)),
    )
    if report.data_set is None or report.failed:
        raise SystemExit("the demo failed; what went wrong is said above")
    clip = read_data_set(report.data_set)["annotations"][0]
    say(f"   {report.data_set}  the data set, for PYSKL, MMAction2 and `skelpipe stats`")
    say(f"   {report.folder / video.stem}.pkl  the same clip with all that the network said before cleaning")
    say(f"   {report.folder / video.stem}.mp4  the overlay: bones, boxes and track ids drawn on the clip")
    say(f"   fields of a clip: {', '.join(clip)}")

    say("\n3. Its statistics before cleaning (raw) and after it (clean), as `skelpipe stats` prints them.")
    say("   A network with random weights is unsure of every joint, so that cleaning leaves little or nothing.")
    print_table(statistics_of([report.data_set]), console)

    say("\n4. What results look like: the joints that the people were DRAWN with, through the same tracking and")
    say("   cleaning. No network found these.")
    known = follow(known_poses(truth), SIZE, ExtractionSettings())[0].poses
    write_overlay(video, known, folder / "known_joints.mp4")
    say(f"   {folder / 'known_joints.mp4'}  for any player or browser")

    skelpipe = Path(sys.executable).with_name("skelpipe")
    command = skelpipe.relative_to(Path.cwd()) if skelpipe.is_relative_to(Path.cwd()) else skelpipe
    say("\nFor your own videos, with real weights (downloaded once):")
    say(f"   {command} extract --overlay YOUR_VIDEOS/")
    say("or, with networks in ONNX files that you have:")
    say(f"   {command} extract --estimator POSE.onnx --detector YOLOX.onnx --overlay YOUR_VIDEOS/")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("runs/demo"), help="folder that is written (default: %(default)s)"
    )
    demo(parser.parse_args().out, Console(width=100))


if __name__ == "__main__":
    main()

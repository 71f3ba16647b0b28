"""`make demo`: the whole of stage one on a clip made on the spot, where neither a video nor weights can be had.

The network's weights are random and the persons' boxes are the ones that the clip was drawn with. It shows that the
installation works and what the files are like; the joints that it finds mean nothing. What results look like is shown
with the joints that the clip was drawn with.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from pipeline.extract import Share, extract
from pipeline.settings import ExtractSettings
from pipeline.statistics import print_table, statistics_of
from pose_extraction.annotations import read_data_set
from pose_extraction.detection import Detections
from pose_extraction.extraction import ExtractionSettings, follow
from pose_extraction.made_video import made_box, made_keypoint, write_made_clip
from pose_extraction.overlay import write_overlay
from pose_extraction.poses import FramePoses
from pose_extraction.skeleton import COCO17

SIZE, FPS, FRAMES, PERSONS = (360, 640), 25.0, 75, 2
ESTIMATOR, SEED = "vitpose-s", 0


class ScriptedDetector:
    """Gives the boxes of a made clip's figures, frame after frame, instead of looking at the picture.

    Args:
        times: Seconds of the frames that will be shown, in their order.
    """

    batch_size = 4

    def __init__(self, times: Sequence[float]) -> None:
        self._times = iter(times)

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """See `Detector.detect`."""
        score = np.ones(PERSONS, np.float32)
        return [(made_box(next(self._times), image.shape[:2], PERSONS), score) for image in images]


def known_poses(times: Sequence[float]) -> list[FramePoses]:
    """The joints that a made clip's figures were drawn with, as an estimator that never errs would find them."""
    sure, joints = np.ones(PERSONS, np.float32), np.ones((PERSONS, COCO17.num_joints), np.float32)
    return [
        FramePoses(index, time, made_box(time, SIZE, PERSONS), sure, made_keypoint(time, SIZE, PERSONS), joints)
        for index, time in enumerate(times)
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

    video = folder / "videos" / "two_walkers.mp4"
    say(f"\n1. Making a clip: {PERSONS} drawn figures that walk, {FRAMES} frames.")
    write_made_clip(video, size=SIZE, fps=FPS, frames=FRAMES, persons=PERSONS)
    say(f"   {video}")

    say(f"\n2. Extracting poses with {ESTIMATOR}. Its weights are RANDOM (seed {SEED}): the joints mean nothing.")
    say("   The boxes around the persons are those that the figures were drawn with; no detector looks for them.")
    times = [index / FPS for index in range(FRAMES)]
    settings = ExtractSettings(estimator=ESTIMATOR, checkpoint=f"seed:{SEED}", detect_every=1, overlay=True)
    report = extract(
        [video],
        folder / "skeletons",
        settings=settings,
        share=Share(overwrite=True),
        console=console,
        detector=ScriptedDetector(times),
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

    say("\n4. What results look like: the joints that the figures were DRAWN with, through the same tracking and")
    say("   cleaning. No network found these.")
    known = follow(known_poses(times), SIZE, ExtractionSettings())[0].poses
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

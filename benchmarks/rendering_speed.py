"""Number of frames of rendered people per second of CPU time, in one thread.

python benchmarks/rendering_speed.py
"""

import argparse
import time

import cv2

from synthetic.rendering.family import FAMILIES
from synthetic.rendering.scene import Scene


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=12, help="scenes per family (default: %(default)s)")
    parser.add_argument("--size", type=int, nargs=2, default=[240, 320], help="height and width (default: 240 320)")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    for family in FAMILIES.values():
        frames = persons = 0
        # CPU time instead of wall-clock time, because other processes may be running.
        start = time.process_time()
        for seed in range(arguments.scenes):
            scene = Scene(family, seed, size=tuple(arguments.size))
            persons += len(scene.figures)
            for index in range(len(scene)):
                scene.frame(index)
                frames += 1
        rate = frames / (time.process_time() - start)
        print(f"{family.name}: {rate:.0f} frames/s, {persons / arguments.scenes:.1f} persons per scene")


if __name__ == "__main__":
    main()

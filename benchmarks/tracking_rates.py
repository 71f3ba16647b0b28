"""Identities at low frame rates: IDF1 on synthetic motion, with and without continuing tracks within reach.

    python benchmarks/tracking_rates.py --seeds 30

Two people who meet and turn back, two who pass each other, and a scene of eight people with occlusions and a camera
cut. Prints a Markdown table.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from pose_extraction.tracking.tracker import Tracker, TrackerSettings
from test_support.clips.made_motion import SIZE, MadeMotion, make_meeting, make_motion
from test_support.reference.idf1 import idf1

RATES = (5.0, 8.0, 15.0, 30.0)
SCENES: dict[str, Callable[[int, float], MadeMotion]] = {
    "meet and turn back": lambda seed, rate: make_meeting(seed, rate=rate, turns=True),
    "meet and pass": lambda seed, rate: make_meeting(seed, rate=rate, turns=False),
    "eight people": lambda seed, rate: make_motion(seed, rate=rate),
}


def score(motion: MadeMotion, settings: TrackerSettings) -> float:
    """Return the IDF1 of the tracker on a clip, in percent."""
    tracker = Tracker(settings, SIZE)
    return 100 * idf1(motion.truth, [tracker.update(frame) for frame in motion.frames])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=30, help="clips per cell (default: 30)")
    parser.add_argument("--first-seed", type=int, default=1000, help="seed of the first clip (default: 1000)")
    arguments = parser.parse_args()
    default = TrackerSettings()
    columns = " | ".join(f"{rate:g} frames/s" for rate in RATES)
    print(f"| motion | tracker | {columns} |\n|---|---|{'---|' * len(RATES)}")
    for name, make in SCENES.items():
        rows: dict[str, list[str]] = {"without reach": [], "default": []}
        for rate in RATES:
            motions = [make(arguments.first_seed + number, rate) for number in range(arguments.seeds)]
            for label, settings in (("without reach", replace(default, top_speed=0.0)), ("default", default)):
                values = [score(motion, settings) for motion in motions]
                rows[label].append(f"{np.mean(values):.1f} ({min(values):.1f})")
        for label, cells in rows.items():
            print(f"| {name} | {label} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

"""Compare the poses of the default settings with those of `--config extract/accurate` on real clips.

    python benchmarks/default_vs_accurate.py VIDEO|FOLDER... --estimator FILE.onnx --detector FILE.onnx [--clips 40]

The same frames are extracted with the same networks: with the accurate settings, with each single optimisation of the
defaults, and with the defaults. In each frame, persons are matched by the overlap of their boxes. The raw poses of each
pair, before tracking and cleaning, are compared by OKS with the area of the accurate box. "Sure" pairs have a mean
joint score above 0.6 in the accurate setting, because poses of uncertain persons are not reproducible.
"""

import argparse
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from scipy.optimize import linear_sum_assignment

from pipeline.config import read_config
from pipeline.extract.settings import ExtractSettings
from pipeline.extract.workflow import Share, extract
from pose_extraction.formats.pickles import read_pickle
from pose_extraction.oks import box_area, box_iou, oks

SAME_PERSON_IOU = 0.3
SURE = 0.6


@dataclass
class Agreement:
    """OKS of all pairs and of sure pairs, and the number of persons found by both settings."""

    pairs: list[float] = field(default_factory=list)
    sure: list[float] = field(default_factory=list)
    persons: int = 0
    persons_accurate: int = 0

    def add(self, accurate: dict[str, Any], other: dict[str, Any]) -> None:
        """Compare the raw poses of one clip."""
        self.persons_accurate += len(accurate["box"])
        self.persons += len(other["box"])
        for frame in np.intersect1d(accurate["frame_index"], other["frame_index"]):
            first, second = accurate["frame_index"] == frame, other["frame_index"] == frame
            box = accurate["box"][first]
            overlap = box_iou(box, other["box"][second])
            rows, columns = linear_sum_assignment(-overlap)
            rows, columns = (index[overlap[rows, columns] > SAME_PERSON_IOU] for index in (rows, columns))
            values = oks(accurate["keypoint"][first][rows], other["keypoint"][second][columns], box_area(box[rows]))
            score = accurate["keypoint_score"][first][rows].mean(1)
            self.pairs += list(values)
            self.sure += list(values[score > SURE])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", help="videos and folders of videos")
    parser.add_argument("--estimator", required=True, help="pose estimator, as in skelpipe extract")
    parser.add_argument("--detector", required=True, help="person detector, as in skelpipe extract")
    parser.add_argument("--clips", type=int, default=40, help="most videos that are used (default: %(default)s)")
    arguments = parser.parse_args()
    accurate = {
        **read_config("extract/accurate", ExtractSettings),
        "estimator": arguments.estimator,
        "detector": arguments.detector,
    }
    variants: dict[str, dict[str, Any]] = {
        "accurate": accurate,
        "no flip test": {**accurate, "flip_test": False},
        "bf16 for both": {**accurate, "precision": "bf16"},
        "detect_every auto": {**accurate, "detect_every": "auto"},
        "defaults": {"estimator": arguments.estimator, "detector": arguments.detector},
    }
    print("| setting | frames/s | persons | pairs | mean OKS | median | sure pairs | mean OKS, sure |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        reference: Path | None = None
        for name, values in variants.items():
            report = extract(
                arguments.videos,
                Path(folder) / name.replace(" ", "-"),
                settings=ExtractSettings(**values),
                share=Share(limit=arguments.clips),
                console=Console(quiet=True),
            )
            reference = reference or report.folder
            agreement = Agreement()
            for path in sorted(reference.rglob("*.pkl")):
                other = report.folder / path.relative_to(reference)
                agreement.add(read_pickle(path)["raw"], read_pickle(other)["raw"])
            print(
                f"| {name} | {report.frames_per_second:.1f} | {agreement.persons} | {len(agreement.pairs)} "
                f"| {np.mean(agreement.pairs):.4f} | {np.median(agreement.pairs):.4f} "
                f"| {len(agreement.sure)} | {np.mean(agreement.sure):.4f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

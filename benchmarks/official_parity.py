"""Compares skelpipe with the published code of its methods: same weights, same inputs, largest differences.

    python benchmarks/official_parity.py FOLDER
    python benchmarks/official_parity.py FOLDER --only MAMP pyskl

FOLDER contains clones of the published repositories under their own names, as many as there are: MaskCLR, MotionBERT,
MAMP, PCM3, pyskl, STTFormer, CTR-GCN, MS-G3D. Missing ones are skipped. Networks are small where the published code
allows it, in float64, so that results that are equal differ only by rounding. A row is "equal" below its limit; other
rows are known differences with their reason, or errors. The command fails if there is an error.
"""

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.official.graphs import ctrgcn, msg3d, pyskl
from benchmarks.official.loading import Difference
from benchmarks.official.mamp import mamp
from benchmarks.official.motionbert import maskclr, motionbert
from benchmarks.official.pcm3 import pcm3
from benchmarks.official.pyskl_data import pyskl_data
from benchmarks.official.sttformer import sttformer

Comparison = Callable[[Path], Iterator[Difference]]
# By the name of the clone's folder.
COMPARISONS: dict[str, tuple[Comparison, ...]] = {
    "MaskCLR": (maskclr,),
    "MotionBERT": (motionbert,),
    "MAMP": (mamp,),
    "PCM3": (pcm3,),
    "pyskl": (pyskl, pyskl_data),
    "STTFormer": (sttformer,),
    "CTR-GCN": (ctrgcn,),
    "MS-G3D": (msg3d,),
}


def compare(folder: Path, names: list[str]) -> Iterator[tuple[str, Difference]]:
    """Yield (repository, difference) for every clone in a folder, and print what is skipped."""
    for name in names:
        root = folder / name
        if not root.is_dir():
            print(f"{name}: skipped, {root} does not exist", file=sys.stderr)
            continue
        for comparison in COMPARISONS[name]:
            # All at once: while a comparison runs, the clone's modules are in place of others, and nothing is printed.
            for difference in list(comparison(root.resolve())):
                yield name, difference


def verdict(difference: Difference) -> str:
    if difference.equal:
        return f"equal; {difference.note}" if difference.note else "equal"
    return f"known: {difference.note}" if difference.note else "DIFFERENT"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with clones of the published repositories")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=COMPARISONS,
        default=list(COMPARISONS),
        metavar="NAME",
        help=f"repositories to compare with, of {', '.join(COMPARISONS)} (default: all)",
    )
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    wrong = 0
    print("| repository | compared | largest difference | |\n|---|---|---|---|")
    for name, difference in compare(chosen.folder, chosen.only):
        wrong += verdict(difference) == "DIFFERENT"
        print(f"| {name} | {difference.subject} | {difference.largest:.1e} | {verdict(difference)} |", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

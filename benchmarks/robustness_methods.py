"""MaskCLR and its baselines, trained on the same clips and evaluated under the same damage.

    python benchmarks/robustness_methods.py penn_action.pkl --out runs/penn [--methods NAME...] [--seeds 0 1 2]
        [--train-only] [--limit 200] [--repeats 1] [--steps 5] [KEY=VALUE...]

Methods: MaskCLR, MotionBERT (the same network with cross-entropy alone) and MotionBERT-R (with random masking of 15 %),
which share phase one, one run per seed; ST-GCN++, AAGCN, CTR-GCN, MS-G3D and PoseConv3D with their configs. All
networks are small: `SETS` contains settings for two known files, chosen for a CPU; other files use those of the first.
KEY=VALUE changes all methods. Learning rates and batch sizes were tuned on held-out parts of the training clips. The
epochs of the last five methods are limited to a few minutes of training on a CPU.

The folder contains the runs, `robustness/` as written by `skelpipe robustness`, and `table.md` with a selection of the
results. If interrupted, the same command continues.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.config import read_words
from pipeline.robustness.report import print_table
from pipeline.robustness.workflow import robustness
from pipeline.sweep.job import Job, is_done
from pipeline.sweep.jobs import phase_one_of, train_all
from pipeline.sweep.trainers import LocalTrainer
from pipeline.train.settings import train_settings
from pose_extraction.engines.engine import Engine
from pose_extraction.errors import SkelpipeError
from pose_extraction.files import atomic_write
from recognition.robustness.conditions import BenchSettings
from recognition.runs import run_file

SAME_NETWORK: dict[str, dict[str, Any]] = {
    "MaskCLR": {},
    "MotionBERT": {"training.objective": "cross_entropy"},
    "MotionBERT-R": {"maskclr.mask": "random", "maskclr.ratio": 0.15, "alpha": 0, "beta": 0},
}
BASELINES = {
    "ST-GCN++": "stgcnpp",
    "AAGCN": "aagcn",
    "CTR-GCN": "ctrgcn",
    "MS-G3D": "msg3d",
    "PoseConv3D": "poseconv3d",
}
METHODS = (*SAME_NETWORK, *BASELINES)

# Conditions in `table.md`.
SHOWN: tuple[tuple[str, Sequence[Any]], ...] = (
    ("clean", (None,)),
    ("noise", (0.002, 0.01, 0.02, 0.05)),
    ("constant_noise", (0.05,)),
    ("part", ("head", "left_arm")),
    ("joints", (0.3, 0.6)),
    ("frames_deleted", (0.5,)),
    ("frames_empty", (0.5,)),
    ("shifted", (3, 10)),
    ("spatial", ("0.3-0.7",)),
    ("temporal", ("0.3-0.7",)),
    ("left_right_swaps", (0.3,)),
    ("dropped_people", (0.3,)),
    ("lower_frame_rate", (8,)),
    ("lower_confidence", (0.5,)),
    ("frame_crop", (0.25,)),
)


def of_length(frames: int) -> dict[str, Any]:
    return {"data.num_frames": frames, "data.max_frames": frames, "model.max_frames": frames}


# By the file's stem: settings for all methods, for the transformer, for graphs, and for PoseConv3D.
SETS: dict[str, tuple[dict[str, Any], ...]] = {
    "penn_action": (
        {"data.skip_bad": True},
        {"phase1_epochs": 12, "phase2_epochs": 12},
        {**of_length(12), "phase1_epochs": 24},
        {**of_length(6), "phase1_epochs": 12},
    ),
    "motions5": (
        {"data.group_pattern": r"_s(\d+)_", "label_smoothing": 0.1, "weight_decay": 0.05},
        {**of_length(64), "depth": 1, "phase1_epochs": 10, "phase2_epochs": 10},
        {**of_length(12), "phase1_epochs": 16},
        {**of_length(6), "phase1_epochs": 4},
    ),
}
# Settings shared by all baselines, on top of their configs, whose recipes are for ten times as many clips. MS-G3D's
# small width would take twice as long as the others.
SHORT = {"model": "small", "batch_size": 16, "backbone_lr": 4e-3, "head_lr": 4e-3, "warmup_epochs": 1, "flip": "auto"}
OWN: dict[str, dict[str, Any]] = {"msg3d": {"dim": 12}}


def job_of(method: str, seed: int, file: Path, out: Path, changes: Mapping[str, Any]) -> Job:
    """Return the training job of one method with one seed."""
    common, transformer, graph, volume = SETS.get(file.stem, next(iter(SETS.values())))
    folder = out / f"{method}-seed{seed}"
    last = {**changes, "data.file": str(file), "training.seed": seed, "out": str(folder), "precision": "bf16"}
    if method in SAME_NETWORK:
        settings = train_settings(["small"], {**common, **transformer, **SAME_NETWORK[method], **last})
        return Job(f"{method}, seed {seed}", settings, phase_one_of(settings, out))
    name = BASELINES[method]
    own = volume if name == "poseconv3d" else graph
    settings = train_settings([f"baselines/{name}"], {**SHORT, **common, **own, **OWN.get(name, {}), **last})
    return Job(f"{method}, seed {seed}", settings)


def train(jobs: Sequence[Job], console: Console) -> None:
    """Train the unfinished runs.

    Raises:
        SkelpipeError: A run failed.
    """
    failed: list[str] = []

    def report(job: Job, reason: str | None) -> None:
        console.print(f"{job.name}: {reason or 'trained'}", highlight=False, markup=False)
        if reason is not None:
            failed.append(f"{job.name}: {reason}")

    train_all([job for job in jobs if not is_done(job.settings)], LocalTrainer(), report)
    if failed:
        raise SkelpipeError("; ".join(failed))


def table(conditions: Sequence[Mapping[str, Any]], differences: Sequence[Mapping[str, Any]]) -> str:
    """Return a Markdown table: accuracy of all methods, and the difference between the first and the second.

    Args:
        conditions: Rows of `conditions.csv`.
        differences: Rows of `differences.csv`.
    """
    methods = list(dict.fromkeys(row["method"] for row in conditions))
    top1 = {(row["family"], row["level"], row["method"]): row for row in conditions}
    leads = {(row["family"], row["level"], row["against"]): row for row in differences}
    head = ["top-1 in per cent", *methods]
    if len(methods) > 1:
        head.append(f"{methods[0]} - {methods[1]}")
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for family, levels in SHOWN:
        for level in levels:
            if (family, level, methods[0]) not in top1:
                continue
            found = [top1[family, level, method] for method in methods]
            cells = [f"{family.replace('_', ' ')}" + ("" if level is None else f" {str(level).replace('_', ' ')}")]
            cells += [f"{100 * row['top1']:.1f}" for row in found]
            if len(methods) > 1:
                lead = leads[family, level, methods[1]]
                cells.append(
                    "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * lead[k] for k in ("difference", "low", "high")))
                )
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="skeleton file with the training clips and --split")
    parser.add_argument(
        "settings", nargs="*", metavar="KEY=VALUE", help="settings of `skelpipe train`, for all methods"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and results")
    parser.add_argument(
        "--methods",
        nargs="*",
        default=list(METHODS),
        choices=METHODS,
        help="methods to train and measure (default: all)",
    )
    parser.add_argument(
        "--seeds", type=int, nargs="*", default=[0, 1, 2], help="seeds of the trainings (default: 0 1 2)"
    )
    parser.add_argument("--split", default="test", help="split to test on (default: %(default)s)")
    parser.add_argument("--limit", type=int, help="maximum number of clips, evenly spread (default: all)")
    parser.add_argument("--repeats", type=int, default=3, help="draws of each damage (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="steps of targeted masking (default: %(default)s)")
    parser.add_argument("--train-only", action="store_true", help="train without measuring")
    arguments = parser.parse_intermixed_args()
    console = Console()
    try:
        changes = read_words(arguments.settings)
        jobs = {
            method: [job_of(method, seed, arguments.file, arguments.out, changes) for seed in arguments.seeds]
            for method in arguments.methods
        }
        train([job for own in jobs.values() for job in own], console)
        if arguments.train_only:
            return
        results = robustness(
            # Use the last epoch's weights: with few held-out clips the best epoch is random.
            [f"{method}={run_file(job.folder, 'last')}" for method, own in jobs.items() for job in own],
            [arguments.file],
            arguments.split,
            settings=BenchSettings(repeats=arguments.repeats, steps=arguments.steps, limit=arguments.limit),
            engine=Engine(),
            out=arguments.out / "robustness",
            skip_bad=bool(SETS.get(arguments.file.stem, ({},))[0].get("data.skip_bad")),
            console=console,
        )
        assert results is not None
        with atomic_write(arguments.out / "table.md") as file:
            file.write(table(results.tables["conditions"], results.tables["differences"]).encode())
        print_table(results, console)
    except SkelpipeError as error:
        sys.exit(f"{parser.prog}: {error}")


if __name__ == "__main__":
    main()

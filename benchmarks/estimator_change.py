"""MaskCLR and cross-entropy under a change of the pose estimator: trained with one, tested with three.

    python benchmarks/estimator_change.py --out runs/estimator_change [data.scores=seen ...]
        [--train-each 24] [--test-each 10] [--seeds 3] [--epochs 20 20] [--estimators hrnet-tiny vitpose-tiny ...]

Rendered people perform all actions, one person per clip. Persons, scenes and movements of the test clips never occur in
training. The same clips are extracted with `hrnet-tiny`, `vitpose-tiny` and `openpifpaf-tiny`, or with the given
estimators, as in `skelpipe extract`. Both methods are trained on the skeletons of the first estimator, with the
settings of `skelpipe train small`. Phase one is trained once per seed, and both methods continue from a copy;
cross-entropy alone continues phase one in phase two. Both are tested on the same clips by all estimators, and on the
true joints.

If interrupted, the same command continues. Use another folder for other numbers of clips or epochs, or other settings.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.recognition_accuracy import trained_run
from pipeline.evaluate.workflow import evaluate
from pipeline.extract.settings import ExtractSettings
from pipeline.extract.workflow import extract
from pipeline.train.settings import train_settings
from pose_extraction.engines.engine import Engine
from pose_extraction.errors import SkelpipeError
from pose_extraction.files import atomic_write
from synthetic.demo.drawing import LABELS_NAME, draw_clips
from synthetic.demo.plan import CLIPS, DemoPlan
from synthetic.rendering.actions import ACTIONS
from synthetic.rendering.clips import TRUTH
from synthetic.rendering.family import TEST, TRAIN

ESTIMATORS = ("hrnet-tiny", "vitpose-tiny", "openpifpaf-tiny")
DETECTOR = "rtmdet-nano-rendered"
METHODS = {"MaskCLR": "maskclr", "cross-entropy": "cross_entropy"}
RESULTS, TABLE = "results.jsonl", "table.md"


def skeletons(folder: Path, plan: DemoPlan, estimators: Sequence[str], console: Console) -> dict[str, Path]:
    """Return the clips' skeleton file for each estimator and the true joints; existing files are reused."""
    draw_clips(plan, folder, console)
    files = {}
    for name in estimators:
        console.print(f"extracting with {name}", highlight=False)
        report = extract(
            [folder / CLIPS],
            folder / "skeletons",
            settings=ExtractSettings(estimator=name, detector=DETECTOR),
            labels=str(folder / CLIPS / LABELS_NAME),
            console=console,
        )
        if report.data_set is None or report.failed:
            raise SkelpipeError(f"{report.folder}: some clips failed, see above; delete {folder} and start again")
        files[name] = report.data_set
    return files | {TRUTH: folder / CLIPS / f"{TRUTH}.pkl"}


def trained(folder: Path, data: Path, seed: int, epochs: Sequence[int], words: Sequence[str]) -> dict[str, Path]:
    """Return the run of each method."""
    # As in the demonstration: each clip shows one person, and clips without detected persons are useless for training.
    pairs = [f"phase1_epochs={epochs[0]}", f"phase2_epochs={epochs[1]}", "data.max_persons=1", *words]
    options = {"data.file": str(data), "data.train_split": TRAIN.name, "data.skip_bad": True, "training.seed": seed}
    settings = train_settings(["small", *pairs], options)
    shared = folder / "runs" / f"phase_one_{seed}"
    return {
        method: trained_run([f"objective={objective}"], settings, folder / "runs" / f"{objective}_{seed}", shared)
        for method, objective in METHODS.items()
    }


def table(results: Sequence[dict]) -> str:
    """Return a Markdown table of accuracies by method and estimator: mean over seeds, and change from the first."""
    columns = list(dict.fromkeys(line["tested_on"] for line in results))
    first_name = columns[0]
    accuracy = defaultdict(list)
    for line in results:
        accuracy[line["method"], line["tested_on"]].append(100 * line["top1"])
    seeds, clips = {line["seed"] for line in results}, results[0]["clips"]
    lines = [
        f"Top-1 in per cent on {clips} clips, mean and standard deviation of {len(seeds)} seeds; in parentheses, the "
        f"change from {first_name}.",
        "",
        "| trained on " + first_name + ", tested on | " + " | ".join(columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for method in METHODS:
        first = np.array(accuracy[method, first_name])
        cells = []
        for name in columns:
            own = np.array(accuracy[method, name])
            change = "" if name == first_name else f" ({(own - first).mean():+.1f})"
            cells.append(f"{own.mean():.1f} ± {own.std(ddof=min(1, len(own) - 1)):.1f}{change}")
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", help="training settings KEY=VALUE, such as data.scores=seen")
    parser.add_argument("--out", type=Path, required=True, help="folder for clips, skeletons, runs and results")
    parser.add_argument("--train-each", type=int, default=24, help="training clips per action (default: %(default)s)")
    parser.add_argument("--test-each", type=int, default=10, help="test clips per action (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (default: %(default)s)")
    parser.add_argument("--epochs", type=int, nargs=2, default=[20, 20], help="epochs per phase (default: 20 20)")
    parser.add_argument(
        "--estimators", nargs="+", default=list(ESTIMATORS), help="train with the first (default: all three)"
    )
    arguments = parser.parse_args()
    console = Console(width=120)
    plan = DemoPlan(tuple(ACTIONS), train_each=arguments.train_each, test_each=arguments.test_each)
    results = []
    try:
        files = skeletons(arguments.out, plan, arguments.estimators, console)
        for seed in range(arguments.seeds):
            runs = trained(arguments.out, files[arguments.estimators[0]], seed, arguments.epochs, arguments.settings)
            for method, run in runs.items():
                for name, data in files.items():
                    found = evaluate(run, data, TEST.name, engine=Engine(), figures=False, console=console).metrics
                    line = {"method": method, "seed": seed, "tested_on": name, "top1": found.top1, "clips": found.clips}
                    results.append(line)
                    console.print(json.dumps(line), highlight=False, soft_wrap=True)
    except SkelpipeError as error:
        sys.exit(f"{parser.prog}: {error}")
    for name, text in ((RESULTS, "".join(f"{json.dumps(line)}\n" for line in results)), (TABLE, table(results))):
        with atomic_write(arguments.out / name) as file:
            file.write(text.encode())
    console.print(table(results), highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()

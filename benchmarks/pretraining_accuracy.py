"""Value of self-supervised pre-training on a skeleton file: each method, its ablations, and random weights.

    python benchmarks/pretraining_accuracy.py FILE.pkl [key=value]... --out FOLDER [--seeds 0 1 2] [--variants NAME...]
        [--protocols NAME...] [--method-settings METHOD key=value...]... [--set METHOD key=value...]...
        [--split test] [--train-split train]
    python benchmarks/pretraining_accuracy.py --out FOLDER --tables

Every variant is pre-trained on the training split without labels, and evaluated with `skelpipe evaluate --protocol`:
on features of the frozen encoder, and fine-tuned with few labels. The same protocols are run with random weights. The
changes of a variant are in its config, in `configs/mamp/ablations/` and `configs/pcm3/ablations/`. Sizes and epochs are
those of `SMALL` and `RECIPES`, which take minutes on a CPU core, with changes from the command line.

The folder contains the runs and `results.jsonl`, with one line per result and its recipe. If interrupted, the same
command continues. With another recipe the results are measured again, and the last result counts.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any

import yaml
from rich.console import Console

from pipeline.protocols.request import ProtocolRequest
from pipeline.protocols.workflow import run_protocol
from pipeline.train.settings import pretrain_settings
from recognition import run_folder
from recognition.pretraining.run import pretrain

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
# Method of each variant, and the config with its changes.
VARIANTS: dict[str, tuple[str, str | None]] = {
    "mamp": ("mamp", None),
    "mamp, joint target": ("mamp", "joint_to_joint"),
    "mamp, random masks": ("mamp", "random_masking"),
    "pcm3": ("pcm3", None),
    "pcm3, contrast alone": ("pcm3", "contrast"),
    "pcm3, prediction alone": ("pcm3", "masked_prediction"),
    "pcm3, side by side": ("pcm3", "multi_task"),
    "pcm3, normalised prompts": ("pcm3", "normalised_prompts"),
}
# Sizes for a CPU, applied to `mamp/custom` and `pcm3/custom`; chosen on a held-out part of the training clips.
SMALL: dict[str, tuple[str, ...]] = {
    "mamp": (
        "data.num_frames=32",
        "data.part_min_frames=16",
        "data.max_persons=1",
        "model.dim=64",
        "model.depth=3",
        "mamp.decoder_depth=1",
        "mamp.ratio=0.75",
        "training.epochs=30",
        "training.warmup_epochs=2",
        "training.batch_size=16",
        "training.lr=0.001",
        "training.precision=bf16",
    ),
    "pcm3": (
        "data.num_frames=32",
        "data.part_min_frames=16",
        "data.max_persons=1",
        "pcm3.hidden=64",
        "pcm3.layers=1",
        "pcm3.decoder_hidden=64",
        "pcm3.queue=256",
        "pcm3.momentum=0.9",
        "training.optimizer=adamw",
        "training.lr=0.002",
        "training.weight_decay=0.01",
        "training.epochs=15",
        "training.lr_steps=[12]",
        "training.batch_size=16",
        "training.precision=fp32",
    ),
}
# The same with random weights: one learning rate for all layers, and enough steps for a hundred clips. One line has
# half as many steps as the papers use with forty times as many clips.
RECIPES: dict[str, tuple[str, ...]] = {
    "mamp": (
        "linear.views=3",
        "linear.epochs=400",
        "linear.batch_size=64",
        "finetune.hidden=128",
        "finetune.epochs=40",
        "finetune.batch_size=16",
        "finetune.lr=0.002",
        "finetune.layer_decay=1",
        "finetune.drop_path=0",
    ),
    "pcm3": (
        "linear.views=3",
        "linear.epochs=400",
        "linear.batch_size=64",
        "linear.schedule=cosine",
        "linear.lr_steps=[]",
        "linear.normalise=true",
        "finetune.epochs=40",
        "finetune.batch_size=16",
        "finetune.optimizer=adamw",
        "finetune.lr=0.01",
        "finetune.normalise=true",
        "finetune.schedule=cosine",
        "finetune.lr_steps=[]",
    ),
}
PROTOCOLS = ("linear", "knn", "semi:1%", "semi:10%")
# One result: variant, whether the weights were random, seed, protocol.
Row = tuple[str, bool, int, str]


def changes_of(method: str, config: str | None) -> list[str]:
    """Return the changes of a config in `ablations/` as `key=value` words."""
    if config is None:
        return []
    text = (CONFIGS / method / "ablations" / f"{config}.yaml").read_text(encoding="utf-8")
    return [f"{method}.{name}={json.dumps(value)}" for name, value in yaml.safe_load(text)[method].items()]


def read_rows(path: Path) -> dict[Row, dict[str, Any]]:
    """Read all results; a line that was truncated by a kill is ignored."""
    rows = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        rows[(entry["variant"], entry["scratch"], entry["seed"], entry["protocol"])] = entry
    return rows


def is_done(rows: Mapping[Row, Mapping[str, Any]], row: Row, pairs: Sequence[str]) -> bool:
    """Whether a result with this recipe exists; an entry without a recipe does not count."""
    return row in rows and rows[row].get("recipe") == list(pairs)


def pretrained_run(name: str, words: Sequence[str], file: Path, folder: Path, *, train_split: str, seed: int) -> Path:
    """Pre-train a variant, or resume it."""
    method, config = VARIANTS[name]
    options = {
        "data.file": str(file),
        "data.train_split": train_split,
        "training.seed": seed,
        "training.device": "cpu",
        "out": str(folder),
    }
    settings = pretrain_settings([f"{method}/custom", *SMALL[method], *words, *changes_of(method, config)], options)
    if run_folder.saved(folder, run_folder.BEST):
        return folder
    begun = folder if run_folder.saved(folder, run_folder.LAST) else None
    return pretrain(settings, resume=begun, show=True)


def report(rows: dict[Row, dict[str, Any]]) -> str:
    """Return a Markdown table: the mean over seeds, and each seed."""
    found: dict[tuple[str, bool], dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for (variant, scratch, seed, protocol), entry in rows.items():
        found[(variant, scratch)][protocol][seed] = entry["top1"]
    lines = ["| | " + " | ".join(PROTOCOLS) + " |", "|---|" + "---|" * len(PROTOCOLS)]
    for (variant, scratch), protocols in found.items():
        cells = []
        for protocol in PROTOCOLS:
            values = [100 * protocols[protocol][seed] for seed in sorted(protocols[protocol])]
            cells.append(f"{fmean(values):.1f} ({', '.join(f'{value:.1f}' for value in values)})" if values else "")
        lines.append(f"| {variant}{', fresh weights' if scratch else ''} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", help="skeleton file; not needed with --tables")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings of `skelpipe pretrain`")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and results")
    parser.add_argument("--split", default="test", help="split to test on (default: %(default)s)")
    parser.add_argument(
        "--train-split",
        default="train",
        help="split that encoders and classifiers are trained on (default: %(default)s)",
    )
    parser.add_argument(
        "--seeds", type=int, nargs="*", default=[0, 1, 2], help="seeds of the pre-training (default: 0 1 2)"
    )
    parser.add_argument(
        "--variants",
        nargs="*",
        choices=list(VARIANTS),
        default=list(VARIANTS),
        metavar="NAME",
        help=f"methods and their ablations, of {'; '.join(VARIANTS)} (default: all)",
    )
    parser.add_argument(
        "--protocols",
        nargs="*",
        choices=PROTOCOLS,
        default=PROTOCOLS,
        # Without it, the usage line would contain the choices, and argparse takes their % for a format.
        metavar="NAME",
        help=f"measurements of each encoder, of {', '.join(PROTOCOLS)} (default: all)".replace("%", "%%"),
    )
    parser.add_argument(
        "--method-settings",
        nargs="+",
        action="append",
        default=[],
        metavar="WORD",
        help="METHOD key=value..., for the pre-training",
    )
    parser.add_argument(
        "--set", nargs="+", action="append", default=[], metavar="WORD", help="METHOD key=value..., for the protocols"
    )
    parser.add_argument("--tables", action="store_true", help="only print the table of existing results")
    arguments = parser.parse_intermixed_args()
    results = arguments.out / "results.jsonl"
    if not arguments.tables:
        if arguments.file is None:
            parser.error("specify a skeleton file")
        arguments.out.mkdir(parents=True, exist_ok=True)
        for seed in arguments.seeds:
            for name in arguments.variants:
                run_variant(name, seed, arguments, results)
    print(report(read_rows(results)))


def run_variant(name: str, seed: int, arguments: argparse.Namespace, results: Path) -> None:
    """Pre-train one variant with one seed, and measure what is missing.

    Random weights are evaluated with the published method only, because they are the same for all of its variants.
    """
    method, config = VARIANTS[name]
    wanted = [(name, scratch, seed, protocol) for scratch in (False, True) for protocol in arguments.protocols]
    done = read_rows(results)
    recipe = [word for of, *words in arguments.set if of == method for word in words]
    pairs = [f"seed={seed}", "runs=1", *RECIPES[method], *recipe]
    left = [row for row in wanted if not is_done(done, row, pairs) and (config is None or not row[1])]
    if not left:
        return
    extra = [word for of, *words in arguments.method_settings if of == method for word in words]
    folder = arguments.out / f"{name.replace(', ', '-').replace(' ', '_')}-seed{seed}"
    started = perf_counter()
    pretrained_run(
        name, [*arguments.settings, *extra], arguments.file, folder, train_split=arguments.train_split, seed=seed
    )
    say(f"{name}, seed {seed}: pre-trained after {perf_counter() - started:.0f} s")
    for _, scratch, _, protocol in left:
        started = perf_counter()
        request = ProtocolRequest(
            protocol=protocol,
            run=folder,
            split=arguments.split,
            pairs=pairs,
            scratch=scratch,
            device="cpu",
            precision="fp32",
        )
        found = run_protocol(request, console=Console(stderr=True))
        entry = {
            "variant": name,
            "scratch": scratch,
            "seed": seed,
            "protocol": protocol,
            "recipe": pairs,
            "top1": found["top1"],
        }
        with results.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(entry) + "\n")
        fresh = ", fresh weights" if scratch else ""
        say(f"{name}{fresh}, seed {seed}, {protocol}: {found['top1']:.2%}, {perf_counter() - started:.0f} s")


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()

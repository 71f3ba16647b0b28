"""Samples per second and peak memory of a training step in phase two, and of inference, against the published recipe.

    python benchmarks/recognition_speed.py [--small] [--clips 6] [--batch-size 2] [--rounds 2] [--device cpu]
    python benchmarks/recognition_speed.py --part inference [--small] [--clips 24]

The plain recipe (`plain_recipe.py`) has explicit attention, fp32, T = 243 and always two persons. Each optimisation is
measured together with all those before it, and alone. The clips are synthetic, with NTU60's lengths and one person in
five of six clips; all variants use the same clips. Each measurement runs in a separate process that builds the network,
performs warm-up steps, and then times one pass over the clips. Variants alternate, and the tables show medians. Peak
memory is the increase over the memory before the network was built (on a GPU: the maximum allocated). If the processor
is shared with other work, CPU seconds per sample are the better metric.
"""

import argparse
import json
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.plain_recipe import PlainDSTFormer, with_two_persons
from pose_extraction.engines.engine import Engine
from pose_extraction.formats.pickle_writing import write_pickle
from recognition.backbones import build_backbone
from recognition.backbones.base import Backbone
from recognition.data.batches import Batch
from recognition.data.batching import ClipBatches
from recognition.data.clips import ClipSet, open_clips
from recognition.data.dataset import SkeletonDataset, collate
from recognition.maskclr.objective import MaskCLR
from recognition.recognizer import Recognizer
from recognition.settings import DataSettings, MaskCLRSettings, ModelSettings, RunSettings

NUM_CLASSES = 60
NUM_JOINTS = 17
PAPER = ModelSettings(dim=512, depth=5, heads=8, mlp_ratio=2, dim_representation=512)
SMALL = ModelSettings(dim=64, depth=3, heads=4, mlp_ratio=2, dim_representation=64, hidden=256)


@dataclass(frozen=True)
class Variant:
    """Enabled optimisations."""

    fused_attention: bool = False
    bf16: bool = False
    absent_skipped: bool = False
    own_lengths: bool = False
    compiled: bool = False


PLAIN = Variant()
MEASURES = {
    "fused attention": Variant(fused_attention=True),
    "bf16": Variant(bf16=True),
    "absent persons skipped": Variant(absent_skipped=True),
    "own lengths": Variant(own_lengths=True),
    "compile": Variant(compiled=True),
}


def variants(*, compiled: bool) -> dict[str, Variant]:
    """Return the plain recipe, each optimisation on top of those before it, and each alone."""
    measures = {name: measure for name, measure in MEASURES.items() if compiled or name != "compile"}
    found, together = {"plain": PLAIN}, PLAIN
    for name, measure in measures.items():
        taken = {field: True for field, value in asdict(measure).items() if value}
        together = replace(together, **taken)
        found[f"+ {name}"] = together
    # The first optimisation alone equals the first on top of the plain recipe.
    found.update({f"only {name}": measure for name, measure in list(measures.items())[1:]})
    return found


def made_clips(path: Path, count: int) -> None:
    """Write `count` clips with NTU60's lengths (mean 84, median 76, 32 to 300) and one person in five of six clips.

    Lengths are evenly spaced quantiles, so that a few clips are representative; the motion is a slow random walk.
    """
    rng = np.random.default_rng(0)
    draws = np.sort(np.clip(np.round(rng.lognormal(np.log(76), 0.42, 60_000)), 32, 300).astype(int))
    lengths = rng.permutation(draws[((np.arange(count) + 0.5) / count * len(draws)).astype(int)])
    annotations = []
    for number, frames in enumerate(lengths.tolist()):
        persons = 2 if number % 6 == 5 else 1
        start = rng.uniform((800, 300), (1100, 800), (persons, 1, NUM_JOINTS, 2))
        keypoint = start + rng.normal(0, 3, (persons, frames, NUM_JOINTS, 2)).cumsum(axis=1)
        annotations.append(
            {
                "frame_dir": f"clip{number:05d}",
                "label": number % NUM_CLASSES,
                "total_frames": frames,
                "img_shape": (1080, 1920),
                "original_shape": (1080, 1920),
                "keypoint": keypoint.astype(np.float16),
                "keypoint_score": np.full(keypoint.shape[:3], 0.9, np.float16),
            }
        )
    names = [annotation["frame_dir"] for annotation in annotations]
    write_pickle(path, {"split": {"train": names}, "annotations": annotations})


def backbone_of(variant: Variant, model: ModelSettings) -> Backbone:
    """Return the package's DSTFormer, or the plain one of the same size."""
    if variant.fused_attention:
        return build_backbone(model, num_joints=NUM_JOINTS, channels=3)
    assert model.dim and model.depth and model.heads and model.mlp_ratio
    return PlainDSTFormer(
        num_joints=NUM_JOINTS,
        channels=3,
        dim=model.dim,
        depth=model.depth,
        heads=model.heads,
        mlp_ratio=model.mlp_ratio,
        max_frames=model.max_frames,
    )


def batches_of(clips: ClipSet, variant: Variant, settings: DataSettings, batch_size: int, device: str) -> list[Batch]:
    """Return all clips once, read and batched as in training; the longest batch first."""
    dataset = SkeletonDataset(clips, np.arange(len(clips)), settings, train=True)
    order = ClipBatches(
        dataset.lengths,
        clips.labels,
        batch_size=batch_size,
        train=True,
        seed=0,
        own_lengths=variant.own_lengths,
    ).batches(0)
    batches = [collate([dataset[key] for key in keys]) for keys in order]
    batches.sort(key=lambda batch: -batch.keypoint[0].numel())
    return [(batch if variant.absent_skipped else with_two_persons(batch)).to(device) for batch in batches]


def autocast(variant: Variant, device: str) -> Any:
    return torch.autocast(device.split(":")[0], torch.bfloat16) if variant.bf16 else nullcontext()


def settings_of(variant: Variant, data: Path) -> DataSettings:
    return DataSettings(file=str(data), num_frames="own" if variant.own_lengths else 243)


def training_pass(
    variant: Variant, model: ModelSettings, data: Path, batch_size: int, device: str
) -> Callable[[], int]:
    """Return a function that performs one phase-two step per batch and returns the number of clips."""
    settings = settings_of(variant, data)
    batches = batches_of(open_clips(data, settings), variant, settings, batch_size, device)
    network = Recognizer(backbone_of(variant, model), NUM_CLASSES, hidden=model.hidden, dropout=model.dropout)
    objective = MaskCLR(network, MaskCLRSettings(), num_classes=NUM_CLASSES).to(device).train()
    optimizer = torch.optim.AdamW(objective.parameters(), lr=1e-4, weight_decay=0.01)
    if variant.compiled:
        network.backbone.encode = torch.compile(network.backbone.encode, dynamic=variant.own_lengths)  # type: ignore[method-assign]

    def run() -> int:
        for batch in batches:
            with autocast(variant, device):
                losses = objective(batch, phase=2, epoch=0)
            losses.total.backward()
            optimizer.step()
            optimizer.zero_grad()
        return sum(len(batch) for batch in batches)

    return run


def resident() -> float:
    """Resident memory of this process in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def measure_training(task: dict[str, Any]) -> dict[str, float]:
    """Measure samples per second and peak memory of one variant, in this process."""
    variant, model = Variant(**task["variant"]), SMALL if task["small"] else PAPER
    device, before = task["device"], resident()
    torch.manual_seed(0)
    run = training_pass(variant, model, Path(task["data"]), task["batch_size"], device)
    for _ in range(task["warmup"]):
        run()
    finish = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    finish()
    wall, processor = time.perf_counter(), time.process_time()
    count = run()
    finish()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    if device.startswith("cuda"):
        memory = float(torch.cuda.max_memory_allocated())
    else:
        memory = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"samples_per_second": count / wall, "cpu_seconds": processor / count, "gib": memory / 2**30}


def measure_inference(task: dict[str, Any]) -> dict[str, float]:
    """Measure clips per second from an open file to probabilities: plainly, or as in `skelpipe evaluate`."""
    from recognition.inference.scores import scores_of
    from recognition.runs import Trained

    device, model = task["device"], SMALL if task["small"] else PAPER
    variant = Variant(**task["variant"])
    settings = settings_of(variant, Path(task["data"]))
    clips = open_clips(Path(task["data"]), settings)
    torch.manual_seed(0)
    network = Recognizer(backbone_of(variant, model), NUM_CLASSES, hidden=model.hidden, dropout=model.dropout).eval()
    dataset = SkeletonDataset(clips, np.arange(len(clips)), settings, train=False)
    trained = Trained(
        recognizer=network,
        settings=RunSettings(data=settings, model=model),
        label_names=tuple(str(number) for number in range(NUM_CLASSES)),
        layout="coco17",
        channels=3,
        estimator=None,
        held_out={},
        epoch=0,
        path=Path("seeded"),
    )

    def plain() -> None:
        network.to(device)
        with torch.inference_mode():
            for position in range(len(dataset)):
                network(with_two_persons(collate([dataset[0, position]])).to(device)).softmax(dim=-1).cpu()

    def ours() -> None:
        precision = "bf16" if variant.bf16 else "fp32"
        scores_of(trained, dataset, Engine(device, task["backend"], precision, task["batch_size"]))

    run = ours if variant.fused_attention else plain
    for _ in range(task["warmup"]):
        run()
    wall, processor = time.perf_counter(), time.process_time()
    run()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return {"samples_per_second": len(dataset) / wall, "cpu_seconds": processor / len(dataset)}


def measured(task: dict[str, Any], limit: float) -> dict[str, float] | str:
    """Run one measurement in a separate process; return an error message if it fails."""
    command = [sys.executable, __file__, "--task", json.dumps(task)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return f"timeout after {limit:.0f} s"
    if result.returncode == -signal.SIGKILL:
        return "killed, probably out of memory; reduce --batch-size"
    if result.returncode:
        return (result.stderr.strip().splitlines() or [f"exited with status {result.returncode}"])[-1]
    return json.loads(result.stdout.splitlines()[-1])


def report(results: dict[str, list[dict[str, float]]], failed: dict[str, str], title: str) -> Table:
    """Return a table of medians over the rounds, and their ratios to the plain recipe."""
    table = Table(title=title)
    columns = list(results["plain"][0]) if results["plain"] else ["samples_per_second"]
    for column in ("", "times plain", *columns, "times plain, cpu seconds", "share of plain memory"):
        table.add_column(column, justify="left" if not column else "right")
    plain = {key: statistics.median(one[key] for one in results["plain"]) for key in columns}
    for name, rounds in results.items():
        if not rounds:
            table.add_row(name, failed.get(name, ""))
            continue
        row = {key: statistics.median(one[key] for one in rounds) for key in columns}
        table.add_row(
            name,
            f"{row['samples_per_second'] / plain['samples_per_second']:.2f}",
            *(f"{row[key]:.3g}" for key in columns),
            f"{plain['cpu_seconds'] / row['cpu_seconds']:.2f}",
            f"{row['gib'] / plain['gib']:.2f}" if "gib" in row else "",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--part", choices=["training", "inference"], default="training", help="what to measure (default: %(default)s)"
    )
    parser.add_argument("--small", action="store_true", help="dim 64, depth 3 instead of the paper's 512, 5")
    parser.add_argument("--clips", type=int, default=6, help="clips of one pass (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=2, help="the plain recipe needs 10 GiB per clip")
    parser.add_argument("--rounds", type=int, default=2, help="measurements of each variant (default: %(default)s)")
    parser.add_argument("--warmup", type=int, default=1, help="passes over the clips before the timed one")
    parser.add_argument("--device", default="cpu", help="cpu or cuda:N (default: %(default)s)")
    parser.add_argument("--only", nargs="*", help="variants to run in addition to plain")
    parser.add_argument("--compile", action="store_true", help="also with torch.compile, which takes minutes")
    parser.add_argument("--limit", type=float, default=1800, help="time limit of one measurement in seconds")
    parser.add_argument("--out", type=Path, help="file for all measurements, as JSON lines")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task:
        # If memory runs out, the kernel should kill this process rather than another one.
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
        task = json.loads(arguments.task)
        print(json.dumps((measure_training if task["part"] == "training" else measure_inference)(task)))
        return

    tasks: dict[str, dict[str, Any]]
    if arguments.part == "training":
        tasks = {name: {"variant": asdict(one)} for name, one in variants(compiled=arguments.compile).items()}
    else:
        ours = Variant(fused_attention=True, absent_skipped=True, own_lengths=True)
        tasks = {
            "plain": {"variant": asdict(PLAIN)},
            "T = 243, fp32": {"variant": asdict(replace(ours, own_lengths=False)), "backend": "torch"},
            "own lengths, fp32": {"variant": asdict(ours), "backend": "torch"},
            "own lengths, bf16": {"variant": asdict(replace(ours, bf16=True)), "backend": "torch"},
            "own lengths, fp32, openvino": {"variant": asdict(ours), "backend": "openvino"},
            "own lengths, bf16, openvino": {"variant": asdict(replace(ours, bf16=True)), "backend": "openvino"},
        }
    if arguments.only is not None:
        tasks = {name: task for name, task in tasks.items() if name in ("plain", *arguments.only)}
    results: dict[str, list[dict[str, float]]] = {name: [] for name in tasks}
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "made.pkl"
        made_clips(data, arguments.clips)
        shared = {
            "part": arguments.part,
            "small": arguments.small,
            "data": str(data),
            "batch_size": arguments.batch_size,
            "device": arguments.device,
            "warmup": arguments.warmup,
        }
        for number in range(arguments.rounds):
            for name, task in tasks.items():
                if name in failed:
                    continue
                outcome = measured({**shared, **task}, arguments.limit)
                if isinstance(outcome, str):
                    failed[name] = outcome
                else:
                    results[name].append(outcome)
                print(f"round {number + 1}, {name}: {outcome}", file=sys.stderr, flush=True)
                if arguments.out:
                    with arguments.out.open("a", encoding="utf-8") as lines:
                        lines.write(json.dumps({"round": number, "name": name, **shared, "result": outcome}) + "\n")
    if not results["plain"]:
        sys.exit(f"the plain recipe could not be measured: {failed['plain']}")
    size = "dim 64, depth 3" if arguments.small else "dim 512, depth 5"
    title = f"{arguments.part}, {size}, {arguments.clips} clips, batch {arguments.batch_size}, {arguments.device}"
    Console(width=140).print(report(results, failed, title))


if __name__ == "__main__":
    main()

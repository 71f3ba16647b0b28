"""Train, measure and ship the small networks.

`python -m synthetic.networks train NAME` trains a small network on rendered people, `measure NAME` measures its
accuracy,
and `ship NAME` adds it to the package.
"""

import argparse
import sys
from pathlib import Path

import torch
from rich.console import Console

from pipeline.inputs.videos import survey
from pose_extraction.engines.engine import Engine
from pose_extraction.errors import SkelpipeError, UsageError
from pose_extraction.networks.estimators import load_detector, load_estimator
from pose_extraction.networks.identity import NetworkOptions, identify
from pose_extraction.networks.topdown import TopdownEstimator
from synthetic.networks.measuring import BoxCounts, JointCounts, measure_bottomup, measure_detector, measure_topdown
from synthetic.networks.packing import Comparison, numbers_of, pack, ship
from synthetic.networks.real_clips import (
    ReferenceFrame,
    Similarity,
    compare_detector,
    compare_estimator,
    reference_frames,
)
from synthetic.networks.recipes import RECIPES, Recipe, recipe_named
from synthetic.networks.training import train


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m synthetic.networks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train", help="train, or resume an interrupted training")
    training.add_argument("name", help=f"one of {', '.join(RECIPES)}")
    training.add_argument("--out", type=Path, default=Path("runs/tiny"), help="output folder (default: %(default)s)")
    training.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    training.add_argument("--workers", type=int, default=1, help="rendering processes (default: %(default)s)")
    training.add_argument("--threads", type=int, default=1, help="training threads (default: %(default)s)")
    training.add_argument("--stop-at", type=int, default=None, help="stop after this number of steps")
    for name, what in (
        ("measure", "measure accuracy on people that were not used in training"),
        ("ship", "measure, and add the weights to the package if they are accurate enough"),
    ):
        measuring = commands.add_parser(name, help=what)
        measuring.add_argument("name", help=f"one of {', '.join(RECIPES)}")
        measuring.add_argument("--checkpoint", type=Path, default=None, help="weights to use instead of the package's")
        measuring.add_argument("--scenes", type=int, default=100, help="number of scenes (default: %(default)s)")
        measuring.add_argument("--videos", type=Path, default=None, help="folder of real clips to compare on")
        measuring.add_argument("--estimator", default="vitpose-b", help="reference estimator (default: %(default)s)")
        measuring.add_argument("--detector", default="rtmdet-m", help="reference detector (default: %(default)s)")
        if name == "ship":
            measuring.add_argument(
                "--below-target", "--even-short", action="store_true", help="ship below the target; the card says so"
            )
    arguments = parser.parse_args()
    console = Console()
    try:
        if arguments.command == "train":
            _train(arguments, console)
        else:
            _measure(arguments, console)
    except SkelpipeError as error:
        sys.exit(f"{parser.prog}: {error}")


def _train(arguments: argparse.Namespace, console: Console) -> None:
    recipe = recipe_named(arguments.name)
    torch.set_num_threads(arguments.threads)
    network = train(
        recipe,
        arguments.out / f"{recipe.name}.state.pt",
        seed=arguments.seed,
        workers=arguments.workers,
        stop_at=arguments.stop_at,
        progress=lambda step, loss: console.print(f"step {step}/{recipe.steps}: loss {loss:.4f}", highlight=False),
    )
    path = arguments.out / f"{recipe.name}.pth"
    pack(network, path)
    console.print(f"{path}  {path.stat().st_size / 1e6:.2f} MB", highlight=False, soft_wrap=True)


def _measure(arguments: argparse.Namespace, console: Console) -> None:
    recipe = recipe_named(arguments.name)
    options = NetworkOptions(Engine(backend="torch", precision="fp32"))
    own = None if arguments.checkpoint is None else str(arguments.checkpoint)
    frames = _real_frames(arguments)
    counts: JointCounts | BoxCounts
    real: Similarity | BoxCounts
    if recipe.kind == "detector":
        identity = identify("detector", recipe.name, checkpoint=own, options=options)
        detector = load_detector(identity, options)
        counts, real = measure_detector(detector, arguments.scenes), compare_detector(detector, frames)
    else:
        identity = identify("estimator", recipe.name, checkpoint=own, options=options)
        estimator = load_estimator(identity, options)
        measured = measure_topdown if isinstance(estimator, TopdownEstimator) else measure_bottomup
        counts, real = measured(estimator, arguments.scenes), compare_estimator(estimator, frames)  # type: ignore[arg-type]
    tables = {f"{arguments.scenes} scenes of unseen rendered people": numbers_of(counts)}
    if frames:
        tables[f"{len(frames)} frames of real clips"] = numbers_of(real)
    for title, numbers in tables.items():
        console.print(title, highlight=False)
        for name, value in numbers.items():
            console.print(f"  {name:15} {value:.3f}", highlight=False)
    if arguments.command == "ship":
        if arguments.checkpoint is None:
            raise UsageError("ship requires --checkpoint FILE, the weights that `train` wrote")
        larger = Path(arguments.detector if recipe.kind == "detector" else arguments.estimator).stem
        compared = Comparison(real, len(frames), larger) if frames else None
        console.print(str(_shipped(arguments, recipe, counts, compared)), soft_wrap=True)


def _shipped(
    arguments: argparse.Namespace, recipe: Recipe, counts: JointCounts | BoxCounts, compared: Comparison | None
) -> Path:
    return ship(recipe, arguments.checkpoint, counts, arguments.scenes, compared, below_target=arguments.below_target)


def _real_frames(arguments: argparse.Namespace) -> list[ReferenceFrame]:
    if arguments.videos is None:
        return []
    videos = [source.path for source in survey([arguments.videos]).sources]
    return reference_frames(videos, arguments.estimator, arguments.detector)


if __name__ == "__main__":
    main()

"""Train base weights on synthetic motions and on real skeletons, and put them into the package.

`python -m synthetic.base --real penn=penn_action.pkl --out runs/base --ship base`
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from pipeline.train.settings import pretrain_settings, train_settings
from pose_extraction.errors import SkelpipeError
from pose_extraction.formats.pickle_writing import write_pickle
from recognition import run_folder
from recognition.data.class_names import pair_of
from synthetic.base.data import Source, base_set
from synthetic.base.shipping import ship
from synthetic.base.words import command_of

CLIPS_NAME, SOURCES_NAME, RUN_NAME = "clips.pkl", "sources.json", "run"
# Config of each objective if none is named.
CONFIGS = {"maskclr": "custom", "cross_entropy": "custom", "mamp": "mamp/custom", "pcm3": "pcm3/custom"}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m synthetic.base", description=__doc__)
    parser.add_argument("words", nargs="*", metavar="[CONFIG] [KEY=VALUE]...", help="as for `skelpipe train`")
    parser.add_argument("--out", type=Path, default=Path("runs/base"), help="working folder (default: %(default)s)")
    parser.add_argument("--real", action="append", default=[], metavar="NAME=FILE", help="skeleton file to add")
    parser.add_argument("--classes", type=int, default=300, help="synthetic actions, or 0 (default: %(default)s)")
    parser.add_argument("--clips", type=int, default=20_000, help="synthetic clips (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    parser.add_argument("--objective", choices=list(CONFIGS), default="maskclr", help="default: %(default)s")
    parser.add_argument("--ship", metavar="NAME", help="name under which the package gets the weights")
    arguments = parser.parse_args()
    try:
        made = _make(arguments)
    except SkelpipeError as error:
        sys.exit(f"{parser.prog}: {error}")
    Console().print(str(made), highlight=False, soft_wrap=True)


def _make(arguments: argparse.Namespace) -> Path:
    out: Path = arguments.out
    run = out / RUN_NAME
    sources = _write_clips(arguments, out)
    _train(arguments.objective, arguments.words, out / CLIPS_NAME, run, arguments.seed)
    if arguments.ship is None:
        return run
    return ship(run, arguments.ship, sources, command_of("synthetic.base", sys.argv[1:]))


def _write_clips(arguments: argparse.Namespace, out: Path) -> list[Source]:
    """Write the training clips, or use those of an earlier, interrupted command with the same output folder."""
    if (out / RUN_NAME).is_dir() and (out / SOURCES_NAME).is_file():
        return [Source(**one) for one in json.loads((out / SOURCES_NAME).read_text(encoding="utf-8"))]
    files = {
        name: Path(file)
        for name, file in (pair_of("--real", word, example="penn=penn_action.pkl") for word in arguments.real)
    }
    data, sources = base_set(files, classes=arguments.classes, clips=arguments.clips, seed=arguments.seed)
    write_pickle(out / CLIPS_NAME, data)
    (out / SOURCES_NAME).write_text(json.dumps([asdict(source) for source in sources], indent=1), encoding="utf-8")
    return sources


def _train(objective: str, words: Sequence[str], clips: Path, run: Path, seed: int) -> None:
    """Train, or continue an interrupted training."""
    words = words if words and "=" not in words[0] else [CONFIGS[objective], *words]
    options = {"data.file": str(clips), "training.seed": seed, "out": str(run)}
    resume = run if run_folder.is_begun(run) else None
    if objective in ("mamp", "pcm3"):
        from recognition.pretraining.run import pretrain

        pretrain(pretrain_settings(words, options), resume=resume, show=True)
    else:
        from recognition.training.run import train

        settings = train_settings(words, options | {"training.objective": objective})
        train(settings, resume=resume, show=True)


if __name__ == "__main__":
    main()

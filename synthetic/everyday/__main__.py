"""Train the recognizer of everyday actions that the package contains, test it on unseen people, and ship it.

python -m synthetic.everyday --data penn=penn_action.pkl --data weizmann=weizmann.pkl --call jack=jumping_jacks
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from pipeline.train.settings import train_settings
from pose_extraction.errors import SkelpipeError
from pose_extraction.formats.pickle_writing import write_pickle
from recognition.data.class_names import names_of, pair_of
from recognition.packed import FOLDER, SUFFIX
from recognition.training.run import train
from synthetic.base.words import command_of
from synthetic.everyday.merging import Part, merged
from synthetic.everyday.shipping import ship
from synthetic.everyday.testing import answers_to_other_actions, results_on_unseen_people

CLIPS_NAME, RUN_NAME = "clips.pkl", "run"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m synthetic.everyday", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help="settings, as for `skelpipe train custom`")
    parser.add_argument(
        "--data", action="append", required=True, metavar="NAME=FILE", help="skeleton file of a data set"
    )
    parser.add_argument("--call", action="append", default=[], metavar="OLD=NEW", help="new name of a class")
    parser.add_argument(
        "--unknown", action="append", default=[], metavar="NAME=FILE", help="skeleton file of other actions, for a test"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/everyday"), help="working folder (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    parser.add_argument(
        "--estimator", default="blazepose", help="pose estimator that predictions use (default: %(default)s)"
    )
    parser.add_argument("--ship", metavar="NAME", help="name under which the package gets the recognizer")
    arguments = parser.parse_args()
    try:
        made = _make(arguments)
    except SkelpipeError as error:
        sys.exit(f"{parser.prog}: {error}")
    Console().print(str(made), highlight=False, soft_wrap=True)


def _make(arguments: argparse.Namespace) -> Path:
    parts, unknown = (
        [Part(name, Path(file)) for name, file in (pair_of(option, word, example=example) for word in words)]
        for option, words, example in (
            ("--data", arguments.data, "penn=penn_action.pkl"),
            ("--unknown", arguments.unknown, "yoga=yoga.pkl"),
        )
    )
    clips = arguments.out / CLIPS_NAME
    clips.parent.mkdir(parents=True, exist_ok=True)
    write_pickle(clips, merged(parts, names_of("--call", arguments.call)))
    options = {"data.file": str(clips), "out": str(arguments.out / RUN_NAME), "training.seed": arguments.seed}
    run = train(train_settings(["custom", *arguments.words], options), show=True)
    results, certainties = results_on_unseen_people(run, clips, parts)
    if arguments.ship is None:
        return run
    others = answers_to_other_actions(run, unknown)
    command = command_of("synthetic.everyday", sys.argv[1:])
    path = FOLDER / f"{arguments.ship}{SUFFIX}"
    return ship(run, path, parts, results, certainties, others, command, estimator=arguments.estimator)


if __name__ == "__main__":
    main()

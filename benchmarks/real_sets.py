"""Accuracy on small sets of real people: our default, other networks, and classical methods, on the same skeletons.

    python benchmarks/real_sets.py measure --data weizmann/simplepose=FILE.pkl yoga/simplepose=FILE.pkl
        --out results.jsonl [--methods svm trees ...] [--counts 3 5 10 20 all] [--seeds 0 1 2] [--folds NAME ...]
        [--robustness] [--leave-class-out]
    python benchmarks/real_sets.py tables results.jsonl [...] [--methods svm trees ...] [--ours descriptors]

Data sets and their folds: `weizmann`, leave one person out; `yoga`, five folds by person; `motions5`, `penn_action` and
`rendered`, the splits "train" and "test" of the file. The name after "/" is that of the pose estimator. With
`--robustness`, each trained method is also tested under damage and, if files of other estimators are given for the same
set, on their skeletons. With `--leave-class-out`, it is trained without each class in turn, to measure how well it
detects what it does not know. Each result is appended to the file at once; the same command continues.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.cells.damage import CONDITIONS, OTHER
from benchmarks.cells.data_sets import RULES, DataSet, read_set
from benchmarks.cells.measuring import Plan, measure
from benchmarks.cells.results import Key, Result, read, read_existing, with_instead
from benchmarks.cells.tables import report
from benchmarks.rivals.networks import Budget
from benchmarks.rivals.table import ABLATIONS, OURS, TITLES, methods
from pose_extraction.errors import SkelpipeError, UsageError
from recognition.robustness.conditions import CLEAN, Condition


def count_of(text: str) -> int | None:
    """Return a number of clips per class, None for "all"."""
    return None if text == "all" else int(text)


def results_of(files: list[Path], names: list[str], instead: Sequence[str] = ()) -> dict[Key, Result]:
    """Return the results of some methods, some of them taking the place of others; see `with_instead`.

    Raises:
        UsageError: A file does not exist or has no results, none has results of these methods, or `instead` is invalid.
    """
    found = with_instead(read_existing(files), instead)
    chosen = {key: result for key, result in found.items() if key.method in names}
    if not chosen:
        measured = ", ".join(sorted({key.method for key in found}))
        raise UsageError(f"--methods {' '.join(names)}: {', '.join(map(str, files))} has results of {measured} only")
    return chosen


def sets_of(words: list[str]) -> list[DataSet]:
    """Return the data sets that are given as TITLE=FILE.

    Raises:
        UsageError: A word has no file.
        AnnotationError: A file is malformed.
    """
    for word in words:
        if not word.partition("=")[2]:
            raise UsageError(f"--data {word}: has no file; write {word.rstrip('=')}=FILE.pkl")
    return [read_set(title, Path(file)) for title, _, file in (word.partition("=") for word in words)]


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure", help="measure what is missing in the file")
    measuring.add_argument(
        "--data",
        nargs="+",
        required=True,
        metavar="NAME/ESTIMATOR=FILE",
        help=f"skeleton files by title; NAME, one of {', '.join(RULES)}, decides the folds; ESTIMATOR is any name and "
        "may be omitted with its slash",
    )
    measuring.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE.jsonl",
        help="file that results are appended to; what it has already is not measured again",
    )
    measuring.add_argument(
        "--on",
        nargs="+",
        metavar="TITLE",
        help="titles of the data sets to measure (default: all of --data); the others only provide skeletons for "
        "--robustness",
    )
    measuring.add_argument(
        "--methods",
        nargs="+",
        default=[name for name in TITLES if name not in ABLATIONS],
        choices=TITLES,
        metavar="NAME",
        help=f"methods to measure, of {', '.join(TITLES)} (default: all but {', '.join(ABLATIONS)})",
    )
    measuring.add_argument(
        "--counts",
        nargs="+",
        type=count_of,
        default=[None, 3, 5, 10, 20],
        metavar="N|all",
        help="training clips per class; a class with fewer keeps them all (default: all 3 5 10 20)",
    )
    measuring.add_argument(
        "--seeds",
        nargs="+",
        type=int,
        default=[0, 1, 2],
        help="seeds; each draws other clips and starts another training (default: 0 1 2)",
    )
    measuring.add_argument(
        "--folds", nargs="+", default=[], help="names of the folds to measure, in all data sets (default: all)"
    )
    measuring.add_argument(
        "--robustness",
        action="store_true",
        help=f"also test each trained method under {len(CONDITIONS)} conditions of damage, and on the skeletons of "
        "another estimator, if --data has some for the same set",
    )
    measuring.add_argument(
        "--leave-class-out",
        action="store_true",
        help="train without each class in turn, instead of with all, to measure how well methods detect unseen actions",
    )
    measuring.add_argument("--epochs", type=int, default=60, help="most epochs of a rival network (default: 60)")
    measuring.add_argument(
        "--presentations",
        type=int,
        default=15_000,
        help="clips shown to a rival network, repetitions included (default: 15000)",
    )
    tables = commands.add_parser("tables", help="print Markdown tables")
    tables.add_argument(
        "results", nargs="+", type=Path, help="files that `measure` wrote; of equal cells, the last one counts"
    )
    tables.add_argument(
        "--data",
        nargs="*",
        default=[],
        metavar="NAME/ESTIMATOR=FILE",
        help="skeleton files by title, for unseen classes in results that do not name them (of earlier versions)",
    )
    tables.add_argument(
        "--methods",
        nargs="+",
        default=list(TITLES),
        choices=TITLES,
        metavar="NAME",
        help="methods to show, named as in `measure --help` (default: all that were measured)",
    )
    tables.add_argument(
        "--ours",
        default=OURS,
        choices=TITLES,
        metavar="NAME",
        help="method that is compared with the best of the others (default: %(default)s)",
    )
    tables.add_argument(
        "--instead",
        nargs="+",
        default=[],
        metavar="DATA:METHOD=OTHER",
        help="on this data set, show the results of OTHER as those of METHOD, such as motions5:svm=svm_unmirrored",
    )
    return parser.parse_args()


def main() -> None:
    """Run the benchmark from the command line."""
    arguments = parsed()
    try:
        if arguments.command == "tables":
            names = {data.title: data.label_names for data in sets_of(arguments.data)}
            results = results_of(arguments.results, arguments.methods, arguments.instead)
            print(report(results, {name: TITLES[name] for name in arguments.methods}, arguments.ours, names), end="")
            return
        conditions = [Condition(CLEAN), *(CONDITIONS if arguments.robustness else ())]
        if arguments.robustness:
            conditions.append(Condition(OTHER))
        known = methods(Budget(arguments.epochs, arguments.presentations))
        plan = Plan(
            sets_of(arguments.data),
            {name: known[name] for name in arguments.methods},
            arguments.counts,
            arguments.seeds,
            arguments.folds,
            conditions,
            arguments.leave_class_out,
            arguments.on,
        )
        measure(plan, read([arguments.out]), arguments.out, lambda text: print(text, flush=True))
    except SkelpipeError as error:
        sys.exit(f"real_sets.py: {error}")


if __name__ == "__main__":
    main()

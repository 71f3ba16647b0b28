"""Write skeletons of people in motion, without rendering: `python -m synthetic.motions --out F.pkl`."""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from pose_extraction.errors import SkelpipeError
from pose_extraction.formats.pickle_writing import write_pickle
from synthetic.motions.clips import motion_set
from synthetic.motions.sheet import draw_sheet

# Clips on a contact sheet.
SHOWN = 40


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m synthetic.motions", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/motions.pkl"), help="output (default: %(default)s)")
    parser.add_argument("--classes", type=int, default=300, help="number of actions (default: %(default)s)")
    parser.add_argument("--clips", type=int, default=20_000, help="number of clips (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    parser.add_argument("--sheet", type=Path, default=None, help="image with stick figures of some of the clips")
    parser.add_argument("--from-class", type=int, default=0, help="first action on the sheet (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        data = motion_set(arguments.classes, arguments.clips, seed=arguments.seed)
        write_pickle(arguments.out, data)
        if arguments.sheet is not None:
            first = arguments.from_class
            draw_sheet(data["annotations"][first : first + SHOWN], arguments.sheet)
    except SkelpipeError as error:
        sys.exit(f"{parser.prog}: {error}")
    Console().print(str(arguments.out), highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()

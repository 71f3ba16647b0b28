"""`python -m pipeline.demo`: the whole way, from video to action, on drawn people; without a network, in minutes."""

import argparse
import sys
from pathlib import Path

INTERRUPTED = 130


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.demo", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("runs/demo"), help="folder that is written (default: %(default)s)"
    )
    parser.add_argument("--checkpoint", help="weights of the estimator (default: those that come with the package)")
    parser.add_argument("--detector-checkpoint", help="weights of the detector (default: likewise)")
    arguments = parser.parse_args()
    sys.stdout.write(f"The whole way, from video to action, on drawn people. Everything goes to {arguments.out}.\n")
    sys.stdout.flush()
    # The processes that draw read this file, too, and need nothing of what follows.
    from dataclasses import replace

    from rich.console import Console

    from pipeline.demo.steps import NETWORKS, demo
    from pose_extraction.errors import SkelpipeError
    from recognition.training import TrainingStopped

    networks = replace(NETWORKS, checkpoint=arguments.checkpoint, detector_checkpoint=arguments.detector_checkpoint)
    try:
        demo(arguments.out, Console(width=100), networks=networks)
    except (KeyboardInterrupt, TrainingStopped):
        sys.stderr.write("interrupted; the same command goes on\n")
        sys.exit(INTERRUPTED)
    except (SkelpipeError, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")


if __name__ == "__main__":
    main()

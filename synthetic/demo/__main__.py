"""Run the complete pipeline, from video to action, on rendered people, offline and within minutes."""

import argparse
import sys
from pathlib import Path


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m synthetic.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="output folder (default: %(default)s)")
    parser.add_argument("--checkpoint", help="weights of the estimator (default: those of the package)")
    parser.add_argument("--detector-checkpoint", help="weights of the detector (default: those of the package)")
    arguments = parser.parse_args()
    sys.stdout.write(f"The complete pipeline, from video to action, on rendered people. Output: {arguments.out}\n")
    sys.stdout.flush()
    # Rendering processes import this file, too, but need none of the following modules.
    from dataclasses import replace

    from rich.console import Console

    from pipeline.exit_codes import INTERRUPTED
    from pose_extraction.errors import SkelpipeError
    from recognition.engine.training_run import TrainingStopped
    from synthetic.demo.steps import NETWORKS, demo

    networks = replace(NETWORKS, checkpoint=arguments.checkpoint, detector_checkpoint=arguments.detector_checkpoint)
    try:
        demo(arguments.out, Console(width=100), networks=networks)
    except (KeyboardInterrupt, TrainingStopped):
        sys.stderr.write("interrupted; run the same command again to continue\n")
        sys.exit(INTERRUPTED)
    except (SkelpipeError, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")


if __name__ == "__main__":
    main()

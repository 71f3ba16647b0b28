"""CPU seconds until a command has answered, for help, wrong usage and short reports, as a table in Markdown.

    python benchmarks/first_output.py [--runs 3] [--only TEXT]

Every command runs in a folder of its own, which is empty but for the files that the command names. CPU seconds are user
and system time of the process and its children, which hardly depend on other load; the table shows the median. A
separate run with `-X importtime` tells whether torch was imported. The code on PYTHONPATH is measured, if that is set,
and otherwise the checkout of this script.
"""

import argparse
import os
import pickle
import re
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 300
# Each with what it is to show.
COMMANDS = {
    "--help": "",
    "--version": "",
    "extract --help": "",
    "train --help": "",
    "train": "empty folder",
    "train --data nosuch.pkl": "missing file",
    "train --data data.pkl foo.bar=1": "unknown setting",
    "predict clip.mp4": "missing file",
    "predict video.mp4": "not a video",
    "evaluate": "empty folder",
    "evaluate nosuch": "missing run",
    "pretrain": "empty folder",
    "robustness": "empty folder",
    "sweep": "empty folder",
    "extract nosuch/": "missing folder",
    "extract --estimator nosuch videos/": "unknown estimator",
    "extract": "no argument",
    "merge": "no argument",
    "merge nosuch/": "missing folder",
    "label data.pkl --labels bad.csv": "malformed table",
    "stats nosuch.pkl": "missing file",
    "convert": "no argument",
    "convert ntu nosuch/": "missing folder",
    "models": "",
    "info": "",
}


@dataclass(frozen=True)
class Outcome:
    """A finished command: its exit code, CPU seconds and output, standard error last."""

    code: int
    seconds: float
    output: str


def prepare(folder: Path, command: str) -> None:
    """Creates the files that a command names."""
    if "data.pkl" in command:
        score = np.full((1, 8, 17), 0.9, np.float32)
        keypoint = np.random.default_rng(0).uniform(50, 200, (1, 8, 17, 2)).astype(np.float32)
        clips = [
            {"frame_dir": f"clip{number}", "label": number % 2, "total_frames": 8, "img_shape": (240, 320)}
            | {"keypoint": keypoint, "keypoint_score": score}
            for number in range(8)
        ]
        names = [clip["frame_dir"] for clip in clips]
        data = {"split": {"train": names}, "annotations": clips, "label_names": ["wave", "jump"]}
        (folder / "data.pkl").write_bytes(pickle.dumps(data))
    if "bad.csv" in command:
        (folder / "bad.csv").write_text("video,action\nclip0,wave\n", encoding="utf-8")
    if "video" in command:
        (folder / "videos").mkdir()
        for path in (folder / "video.mp4", folder / "videos" / "clip.mp4"):
            path.write_bytes(b"not a video")


def run(command: str, *options: str) -> Outcome:
    """Runs a command with options of the interpreter."""
    environment = {"PYTHONPATH": str(ROOT), "COLUMNS": "160"} | os.environ
    # As in the shell of a user who has not set it.
    environment.pop("OMP_WAIT_POLICY", None)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as output:
        prepare(Path(folder), command)
        process = subprocess.Popen(
            ["timeout", str(LIMIT), sys.executable, *options, "-m", "pipeline.cli", *shlex.split(command)],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
    return Outcome(process.returncode, usage.ru_utime + usage.ru_stime, text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="timed runs per command (default: %(default)s)")
    parser.add_argument("--only", default="", help="only commands that contain this text")
    parser.add_argument("--outputs", type=Path, help="file for what each command printed")
    arguments = parser.parse_args()
    print("| command | | exit code | CPU seconds | torch |")
    print("|---|---|---|---|---|", flush=True)
    outputs = []
    for command, case in COMMANDS.items():
        if arguments.only not in command:
            continue
        # This run also writes the byte code, so that the timed ones need not.
        imports = run(command, "-X", "importtime").output
        imported = re.search(r"^import time:.*\| +torch$", imports, re.MULTILINE) is not None
        outcomes = [run(command) for _ in range(arguments.runs)]
        codes = ", ".join(sorted({str(outcome.code) for outcome in outcomes}))
        seconds = median(outcome.seconds for outcome in outcomes)
        row = [f"`skelpipe {command}`", case, codes, f"{seconds:.2f}", "yes" if imported else "no"]
        print(f"| {' | '.join(row)} |", flush=True)
        outputs.append(f"$ skelpipe {command}\n{outcomes[0].output}exit code {outcomes[0].code}\n")
    if arguments.outputs is not None:
        arguments.outputs.write_text("\n".join(outputs), encoding="utf-8")


if __name__ == "__main__":
    main()

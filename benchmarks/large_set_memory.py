"""Time and memory for opening a skeleton file of NTU120's size, and for reading training clips from it.

    python benchmarks/large_set_memory.py --out FOLDER [--clips 114480]

The file is synthetic, with NTU120's number of clips, classes, lengths and persons, in half precision as in PYSKL;
joints are random. It is written once, and read in a separate process.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.formats.pickles import write_pickle
from recognition.data.clips import open_clips
from recognition.data.dataset import SkeletonDataset
from recognition.data.splits import training_indices
from recognition.settings import DataSettings
from test_support.made_data_sets import ntu_like_lengths

CLIPS, CLASSES, JOINTS = 114_480, 120, 17
# One in this many clips has two persons.
TWO_PERSONS = 6
# Number of clips to read, in training order.
READ = 5000


def made_file(path: Path, clips: int) -> None:
    """Write the file."""
    rng = np.random.default_rng(0)
    lengths = ntu_like_lengths(clips, rng)
    annotations: list[dict[str, Any]] = []
    for number, frames in enumerate(lengths.tolist()):
        shape = (2 if number % TWO_PERSONS == 0 else 1, frames, JOINTS)
        annotations.append(
            {
                "frame_dir": f"S{number:09d}A{number % CLASSES + 1:03d}",
                "label": number % CLASSES,
                "total_frames": frames,
                "img_shape": (1080, 1920),
                "original_shape": (1080, 1920),
                "keypoint": rng.random((*shape, 2), np.float32).astype(np.float16) * 1000,
                "keypoint_score": np.full(shape, 0.9, np.float16),
            }
        )
    names = [annotation["frame_dir"] for annotation in annotations]
    half = clips // 2
    write_pickle(path, {"split": {"xsub_train": names[:half], "xsub_val": names[half:]}, "annotations": annotations})


def peak() -> float:
    """Peak memory of this process in GiB (`getrusage` would include that of the parent process)."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 2**20


def read(path: Path) -> None:
    """Open the file, read some clips, and print time and memory."""
    before, started = peak(), time.perf_counter()
    settings = DataSettings()
    clips = open_clips(path, settings)
    print(f"open: {time.perf_counter() - started:.1f} s, peak {peak():.2f} GiB ({before:.2f} GiB before)")
    started = time.perf_counter()
    clips.content_digest()
    print(f"digest: {time.perf_counter() - started:.1f} s, peak {peak():.2f} GiB")
    training = training_indices(clips, settings)
    dataset = SkeletonDataset(clips, training, settings, train=True)
    started = time.perf_counter()
    chosen = np.random.default_rng(0).permutation(len(training))[:READ]
    for position in chosen:
        dataset[(0, int(position))]
    rate = len(chosen) / (time.perf_counter() - started)
    print(f"read {len(chosen)} of {len(training)} clips: {rate:.0f} clips/s, peak {peak():.2f} GiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the file")
    parser.add_argument("--clips", type=int, default=CLIPS)
    parser.add_argument("--read", action="store_true", help="read an existing file; used for the child process")
    arguments = parser.parse_args()
    path = arguments.out / f"made_{arguments.clips}.pkl"
    if arguments.read:
        read(path)
        return
    if not path.is_file():
        arguments.out.mkdir(parents=True, exist_ok=True)
        made_file(path, arguments.clips)
    print(f"{path}: {arguments.clips} clips, {path.stat().st_size / 2**30:.2f} GiB", flush=True)
    again = [sys.executable, __file__, "--out", str(arguments.out), "--clips", str(arguments.clips), "--read"]
    subprocess.run(again, check=True)


if __name__ == "__main__":
    main()

"""Time and memory for opening a large data set, as one skeleton file and in shards, and for reading training clips.

    python benchmarks/large_set_memory.py --out FOLDER [--clips 114480] [--kind pickle|parquet|both]

The data set is synthetic, with NTU120's number of clips, classes, lengths and persons, in half precision as in PYSKL;
joints are random. It is written once, and read in a separate process. Shards repeat the joints of `POOL` clips under
different ids, so that a million clips are written in minutes; every page is compressed, stored and read separately.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.formats.shards.clip_labels import ClipLabels, write_labels
from pose_extraction.formats.shards.manifest import Manifest, is_data_set, write_manifest
from pose_extraction.formats.shards.rows import row_of
from pose_extraction.formats.shards.writer import ShardWriter
from recognition.data.clips import open_clips
from recognition.data.dataset import SkeletonDataset
from recognition.data.splits import training_indices
from recognition.settings import DataSettings
from test_support.clips.made_data_sets import ntu_like_lengths

CLIPS, CLASSES, JOINTS = 114_480, 120, 17
# One in this many clips has two persons.
TWO_PERSONS = 6
# Number of clips to read, in training order.
READ = 5000
# Number of different clips in shards.
POOL = 4000
KINDS = {"pickle": ".pkl", "parquet": ".parquet"}


def made_file(path: Path, clips: int) -> None:
    """Write the file."""
    annotations = made_annotations(clips)
    names = [annotation["frame_dir"] for annotation in annotations]
    half = clips // 2
    write_pickle(path, {"split": {"xsub_train": names[:half], "xsub_val": names[half:]}, "annotations": annotations})


def made_annotations(clips: int) -> list[dict[str, Any]]:
    """Return the clips."""
    rng = np.random.default_rng(0)
    lengths = ntu_like_lengths(clips, rng)
    annotations: list[dict[str, Any]] = []
    for number, frames in enumerate(lengths.tolist()):
        shape = (2 if number % TWO_PERSONS == 0 else 1, frames, JOINTS)
        annotations.append(
            {
                "frame_dir": name_of(number),
                "label": number % CLASSES,
                "total_frames": frames,
                "img_shape": (1080, 1920),
                "original_shape": (1080, 1920),
                "keypoint": rng.random((*shape, 2), np.float32).astype(np.float16) * 1000,
                "keypoint_score": np.full(shape, 0.9, np.float16),
            }
        )
    return annotations


def name_of(number: int) -> str:
    """Return the id of a clip."""
    return f"S{number:09d}A{number % CLASSES + 1:03d}"


def made_shards(path: Path, clips: int) -> None:
    """Write the shards."""
    label_names = [f"A{number:03d}" for number in range(1, CLASSES + 1)]
    pool = [{**clip, "label_name": label_names[clip["label"]]} for clip in made_annotations(min(POOL, clips))]
    rows = [row_of(clip, [], "made") for clip in pool]
    writer = ShardWriter(path)
    labels = {}
    for number in range(clips):
        # The joints of a clip of the pool under the id, the label and the digest of another one.
        label_name, splits = label_names[number % CLASSES], ("xsub_train" if number < clips // 2 else "xsub_val",)
        own = {"frame_dir": name_of(number), "label_name": label_name, "splits": list(splits)}
        writer.add_row(rows[number % len(rows)] | own | {"digest": number.to_bytes(16, "little")})
        labels[name_of(number)] = ClipLabels(label_name, None, splits)
    shards = writer.close()
    write_labels(path, labels, label_names)
    write_manifest(path, Manifest(tuple(shards), tuple(label_names)))


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of the files in a folder."""
    return path.stat().st_size if path.is_file() else sum(file.stat().st_size for file in path.rglob("*.parquet"))


def peak() -> float:
    """Peak memory of this process in GiB (`getrusage` would include that of the parent process)."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 2**20


def read(path: Path) -> None:
    """Open the file, read some clips, and print time and memory."""
    before, started, busy = peak(), time.perf_counter(), time.process_time()
    settings = DataSettings()
    clips = open_clips(path, settings)
    took = f"{time.perf_counter() - started:.1f} s, of the processor {time.process_time() - busy:.1f} s"
    print(f"open: {took}, peak {peak():.2f} GiB ({before:.2f} GiB before)")
    started = time.perf_counter()
    clips.content_digest()
    print(f"digest: {time.perf_counter() - started:.1f} s, peak {peak():.2f} GiB")
    training = training_indices(clips, settings)
    dataset = SkeletonDataset(clips, training, settings, train=True)
    busy = time.process_time()
    chosen = np.random.default_rng(0).permutation(len(training))[:READ]
    for position in chosen:
        dataset[(0, int(position))]
    rate = len(chosen) / (time.process_time() - busy)
    print(f"read {len(chosen)} of {len(training)} clips: {rate:.0f} clips/s of one core, peak {peak():.2f} GiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the file")
    parser.add_argument("--clips", type=int, default=CLIPS, help="number of clips (default: %(default)s)")
    parser.add_argument(
        "--kind",
        choices=(*KINDS, "both"),
        default="both",
        help="one skeleton file, shards, or both (default: %(default)s)",
    )
    parser.add_argument("--read", type=Path, help="read an existing data set; used for the child process")
    arguments = parser.parse_args()
    if arguments.read:
        read(arguments.read)
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    for kind, suffix in KINDS.items():
        if arguments.kind not in (kind, "both"):
            continue
        path = arguments.out / f"made_{arguments.clips}{suffix}"
        if not is_data_set(path):
            started = time.perf_counter()
            (made_file if kind == "pickle" else made_shards)(path, arguments.clips)
            print(f"written in {time.perf_counter() - started:.0f} s")
        print(f"{path}: {arguments.clips} clips, {size_of(path) / 2**30:.2f} GiB", flush=True)
        subprocess.run([sys.executable, __file__, "--out", str(arguments.out), "--read", str(path)], check=True)


if __name__ == "__main__":
    main()

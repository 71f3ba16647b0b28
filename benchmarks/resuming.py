"""What a run costs that finds all its videos finished: with and without `.finished.jsonl`.

    python benchmarks/resuming.py --videos 1000 --padding 2000000

The videos are copies of one short clip, padded to the size of real ones, and the networks are tiny, so that only the
check remains. Each figure is the median of `--rounds` runs that find nothing to do, without the merge at the end. The
files are in the page cache; on storage on a network, each file that is read costs more.
"""

import argparse
import io
import os
import shutil
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

from rich.console import Console

from pipeline.extract.settings import ExtractSettings
from pipeline.extract.share import Share
from pipeline.extract.workflow import Report, extract
from test_support.networks.tiny_networks import write_tiny_networks
from test_support.videos.made_video import write_made_clip

# Long ago: what has just been written could still be changing.
THEN = 1_700_000_000


def write_videos(folder: Path, count: int, padding: int) -> None:
    """Write copies of a short clip with `padding` bytes that no reader looks at."""
    clip = write_made_clip(folder / "0000000.mp4", size=(96, 128), frames=9, persons=1)
    with clip.open("ab") as file:
        # An mp4 box of the type "free".
        file.write((padding + 8).to_bytes(4, "big") + b"free" + os.urandom(padding))
    for number in range(1, count):
        shutil.copyfile(clip, folder / f"{number:07d}.mp4")
    for path in folder.iterdir():
        os.utime(path, (THEN, THEN))


def measured(rounds: int, settings: ExtractSettings, videos: Path, out: Path, *, forget: bool) -> float:
    """Return the median of the seconds of a run that finds nothing to do."""
    seconds = []
    for _ in range(rounds):
        if forget:
            for log in out.rglob(".finished*"):
                log.unlink()
        began = perf_counter()
        report = extracted(settings, videos, out)
        seconds.append(perf_counter() - began)
        assert not report.done and not report.failed
    return median(seconds)


def extracted(settings: ExtractSettings, videos: Path, out: Path) -> Report:
    """Extract as one shard, which is not merged."""
    return extract([videos], out, settings=settings, share=Share(shard=(1, 1)), console=Console(file=io.StringIO()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=1000, help="number of videos (default: %(default)s)")
    parser.add_argument("--padding", type=int, default=2_000_000, help="bytes of each video (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="runs per figure (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "videos").mkdir()
        write_videos(folder / "videos", arguments.videos, arguments.padding)
        estimator, detector = write_tiny_networks(folder)
        settings = ExtractSettings(
            estimator=str(estimator), detector=str(detector), device="cpu", backend="onnxruntime"
        )
        began = perf_counter()
        assert extracted(settings, folder / "videos", folder / "out").done == arguments.videos
        print(f"extraction of {arguments.videos} videos: {perf_counter() - began:.1f} s")
        for text, forget in (("every result and video is read", True), ("only sizes and times", False)):
            spent = measured(arguments.rounds, settings, folder / "videos", folder / "out", forget=forget)
            print(f"{text}: {spent:.2f} s, {1000 * spent / arguments.videos:.2f} ms per video")


if __name__ == "__main__":
    main()

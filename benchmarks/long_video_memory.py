"""Memory of a process that predicts the actions in a video of several hours.

    python benchmarks/long_video_memory.py --hours 2

A synthetic minute is encoded once and its packets are repeated, so that the video is written in a second. It is
predicted with `windows=3` and the tiny networks of the tests, so that memory that grows with the length is noticeable.
The script prints the memory of the process after a tenth of its time, after half of it, and at the end.
"""

import argparse
import tempfile
import threading
import time
from pathlib import Path

import av

from pipeline import predict_actions
from test_support.made_video import write_made_clip
from test_support.tiny_networks import write_tiny_networks
from test_support.trained_run import made_run

SIZE = (120, 160)
SECONDS = 60
# Interval in seconds between two memory readings.
INTERVAL = 0.5


def write_long_video(path: Path, *, fps: float, minutes: int) -> Path:
    """Repeat a minute with one figure and a minute with two."""
    parts = [
        write_made_clip(
            path.with_name(f"{persons}.mp4"), size=SIZE, fps=fps, frames=round(SECONDS * fps), persons=persons
        )
        for persons in (1, 2)
    ]
    with av.open(str(path), "w") as made:
        stream = None
        for minute in range(minutes):
            with av.open(str(parts[minute % 2])) as part:
                source = part.streams.video[0]
                stream = stream or made.add_stream_from_template(source)
                offset = round(minute * SECONDS / source.time_base)
                for packet in part.demux(source):
                    if packet.size:
                        packet.pts += offset
                        packet.dts += offset
                        packet.stream = stream
                        made.mux(packet)
    return path


def held() -> int:
    """Resident memory of this process in bytes, including mapped files."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("this system does not report the memory of a process (/proc/self/status)")


class Watch(threading.Thread):
    """Records the memory of the process periodically until stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: list[int] = []
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(INTERVAL):
            self.seen.append(held())

    def end(self) -> list[int]:
        """Stop, and return all readings including a last one."""
        self._ended.set()
        self.join()
        return [*self.seen, held()]


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=2, help="(default: %(default)s)")
    parser.add_argument("--fps", type=float, default=5, help="frames per second (default: %(default)s)")
    parser.add_argument("--overlay", action="store_true", help="also draw an overlay")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        estimator, detector = write_tiny_networks(folder / "networks")
        run, _ = made_run(folder)
        video = write_long_video(folder / "long.mp4", fps=arguments.fps, minutes=round(arguments.hours * 60))
        overlay = folder / "overlay.mp4" if arguments.overlay else None
        started = time.monotonic()
        watch = Watch()
        watch.start()
        answers, end = 0, 0.0
        for answer in predict_actions(
            video, run, estimator=estimator, detector=detector, windows=3, overlay=overlay, device="cpu"
        ):
            answers += 1
            end = max(end, answer.end or 0.0)
        seen = watch.end()
        seconds = time.monotonic() - started
    print(f"{end / 3600:.2f} h of video in {seconds:.0f} s, {answers} predictions")
    for share in (0.1, 0.5, 1.0):
        print(f"after {share:4.0%} of the time: {seen[round(share * (len(seen) - 1))] / 1e6:.0f} MB")
    print(f"peak: {max(seen) / 1e6:.0f} MB")


if __name__ == "__main__":
    main()

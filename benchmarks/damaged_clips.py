"""Read damaged copies of video clips in separate processes and report how much was recovered.

    python benchmarks/damaged_clips.py ../shared/data/videos/clips

Every clip is damaged in several ways with fixed seeds, in a temporary folder. The outcome is valid if the reader yields
frames or raises a VideoError. Everything else counts as lost: another exception, a crash of the decoder, or a timeout.
The exit status is 1 if any clip was lost.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

from pose_extraction.errors import VideoError
from pose_extraction.video.reader import VideoReader

SUFFIXES = {".mp4", ".avi", ".mkv", ".webm"}
LIMIT_SECONDS = 60
# One process reads many clips, which is faster; after a crash, a new process continues.
CLIPS_PER_PROCESS = 40

Damage = Callable[[bytes, bytes, random.Random], bytes]


def truncated(share: float) -> Damage:
    """Keep only the first part."""
    return lambda data, other, rng: data[: int(len(data) * share)]


def bits_flipped(count: int) -> Damage:
    """Flip single bits at random positions."""

    def damage(data: bytes, other: bytes, rng: random.Random) -> bytes:
        copy = bytearray(data)
        for _ in range(count):
            copy[rng.randrange(len(copy))] ^= 1 << rng.randrange(8)
        return bytes(copy)

    return damage


def header_cut(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Remove the first bytes, up to 4 KiB."""
    return data[rng.randrange(16, 4096) :]


def header_flipped(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Flip ten bits in the first and last 2 KiB, where containers store their tables."""
    copy = bytearray(data)
    for _ in range(10):
        place = rng.randrange(-2048, 2048)
        copy[place] ^= 1 << rng.randrange(8)
    return bytes(copy)


def spliced(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Overwrite the middle with a part of another clip."""
    length = len(data) // 5
    start = rng.randrange(len(data) // 4, len(data) // 2)
    return data[:start] + other[:length].ljust(length, b"\0") + data[start + length :]


def zeroed(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Overwrite a tenth with zeros, like a failed disk block."""
    length = len(data) // 10
    start = rng.randrange(len(data) - length)
    return data[:start] + bytes(length) + data[start + length :]


KINDS: dict[str, Damage] = {
    "truncated to 10 %": truncated(0.1),
    "truncated to 50 %": truncated(0.5),
    "truncated to 95 %": truncated(0.95),
    "5 bits flipped": bits_flipped(5),
    "50 bits flipped": bits_flipped(50),
    "500 bits flipped": bits_flipped(500),
    "header cut": header_cut,
    "header and tail flipped": header_flipped,
    "spliced": spliced,
    "a tenth zeroed": zeroed,
}


def read_clip(path: Path) -> dict[str, object]:
    """Read a clip to its end; return its codec and number of frames, or the error."""
    try:
        with VideoReader(path, threads=0) as reader:
            frames = sum(1 for _ in reader)
        return {"codec": reader.info.codec, "frames": frames, "problems": len(reader.problems)}
    except VideoError as error:
        return {"error": str(error)}


def read_all(paths: list[Path]) -> None:
    """Body of the child process: print one line of JSON per clip."""
    for path in paths:
        print(json.dumps({"path": str(path), **read_clip(path)}), flush=True)


def run_bounded(paths: list[Path]) -> dict[Path, dict[str, object]]:
    """Read clips in child processes; a clip that crashes its process or exceeds the time limit is marked."""
    results: dict[Path, dict[str, object]] = {}
    waiting = list(paths)
    while waiting:
        batch = waiting[:CLIPS_PER_PROCESS]
        command = [sys.executable, __file__, "--read", *map(str, batch)]
        try:
            child = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
            output, fate = child.stdout, f"process ended with {child.returncode}: {child.stderr.strip()[-300:]}"
        except subprocess.TimeoutExpired as error:
            output, fate = (error.stdout or b"").decode(), f"timeout after {LIMIT_SECONDS} s"
        for line in output.splitlines():
            result = json.loads(line)
            results[Path(result.pop("path"))] = result
        unread = [path for path in batch if path not in results]
        if unread:
            results[unread[0]] = {"lost": fate}
        waiting = [path for path in waiting if path not in results]
    return results


def make_copies(clips: list[Path], folder: Path) -> dict[Path, tuple[str, Path]]:
    """Write each clip with each kind of damage; return kind and clip per copy."""
    copies = {}
    for number, clip in enumerate(clips):
        data, other = clip.read_bytes(), clips[number - 1].read_bytes()
        for kind, damage in KINDS.items():
            path = folder / f"{number:03d}_{kind.replace(' ', '_').replace('%', 'percent')}{clip.suffix}"
            path.write_bytes(damage(data, other, random.Random(f"{clip.name} {kind}")))
            copies[path] = (kind, clip)
    return copies


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="*", help="folders of clips, searched recursively")
    parser.add_argument("--read", type=Path, nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        read_all(arguments.read)
        return 0
    clips = sorted(path for folder in arguments.folder for path in folder.rglob("*") if path.suffix in SUFFIXES)
    if not clips:
        parser.error("the folders contain no clips")
    whole = run_bounded(clips)
    clips = [clip for clip in clips if "frames" in whole[clip]]
    with tempfile.TemporaryDirectory() as folder:
        copies = make_copies(clips, Path(folder))
        results = run_bounded(list(copies))
    return report(whole, copies, results)


def report(
    whole: dict[Path, dict[str, object]],
    copies: dict[Path, tuple[str, Path]],
    results: dict[Path, dict[str, object]],
) -> int:
    """Print one line per kind of damage and per codec; return 1 if any clip was lost."""
    lost = {path: result["lost"] for path, result in results.items() if "lost" in result}
    print(f"{len(copies)} damaged copies of {len({clip for _, clip in copies.values()})} clips, {len(lost)} lost")
    for title, key in (
        ("damage", lambda path: copies[path][0]),
        ("codec", lambda path: str(whole[copies[path][1]]["codec"])),
    ):
        groups: dict[str, Counter[str]] = defaultdict(Counter)
        for path, result in results.items():
            group = groups[key(path)]
            group["copies"] += 1
            group["read"] += "frames" in result
            group["refused"] += "error" in result
            group["lost"] += "lost" in result
            group["noted"] += bool(result.get("problems"))
            group["frames"] += int(str(result.get("frames", 0)))
            group["of"] += int(str(whole[copies[path][1]]["frames"]))
        print(f"\n{title:26}{'copies':>8}{'read':>8}{'noted':>8}{'refused':>9}{'lost':>6}{'frames recovered':>18}")
        for name, group in groups.items():
            share = group["frames"] / max(group["of"], 1)
            counts = f"{group['copies']:8}{group['read']:8}{group['noted']:8}{group['refused']:9}{group['lost']:6}"
            print(f"{name:26}{counts}{share:18.1%}")
    for path, fate in lost.items():
        print(f"\nlost: {copies[path][1].name}, {copies[path][0]}: {fate}")
    return int(bool(lost))


if __name__ == "__main__":
    sys.exit(main())

"""Read damaged copies of video clips in separate processes and report how much was recovered.

    python benchmarks/damaged_clips.py --codecs
    python benchmarks/damaged_clips.py ../shared/data/videos/clips

The first command encodes short clips of every codec that FFmpeg can encode on this machine, in as many containers as
possible; the second one takes those in a folder. Every clip is damaged in several ways with fixed seeds, in a temporary
folder. The outcome is valid if the reader yields frames or raises a VideoError. Everything else counts as lost: another
exception, a crash of the decoder, or a timeout. The exit status is 1 if any clip was lost.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from benchmarks.damaged.kinds import KINDS
from pose_extraction.errors import VideoError
from pose_extraction.video.reader import VideoReader

SUFFIXES = {".mp4", ".avi", ".mkv", ".webm"}
# For one process, which reads many clips.
LIMIT_SECONDS = 120
# One process reads many clips, which is faster; after a crash, a new process continues.
CLIPS_PER_PROCESS = 40


def read_clip(path: Path) -> dict[str, Any]:
    """Read a clip to its end; return its codec and number of frames, or the error."""
    try:
        with VideoReader(path, threads=0) as reader:
            frames = sum(1 for _ in reader)
        return {"codec": reader.info.codec, "frames": frames, "problems": len(reader.problems)}
    except VideoError as error:
        return {"error": str(error)}


def read_all(paths: list[str]) -> None:
    """Body of a child process: print one line of JSON per clip."""
    for path in paths:
        print(json.dumps({"item": path, **read_clip(Path(path))}), flush=True)


def encode_all(folder: Path, names: list[str]) -> None:
    """Body of a child process: encode clips of these codecs, and print one line of JSON per codec."""
    # Loaded here only, because it imports FFmpeg's encoders.
    from benchmarks.damaged.encoding import software_encoders, write_clips

    numbers = {name: number for number, name in enumerate(software_encoders())}
    for name in names:
        clips = [str(path) for path in write_clips(name, numbers[name], folder)]
        print(json.dumps({"item": name, "clips": clips}), flush=True)


def run_bounded(words: list[str], items: list[str]) -> dict[str, dict[str, Any]]:
    """Process items in child processes; one that crashes its process or exceeds the time limit is marked as lost.

    Args:
        words: Arguments of this script before the items.
        items: The items, in their order.
    """
    results: dict[str, dict[str, Any]] = {}
    waiting = list(items)
    while waiting:
        batch = waiting[:CLIPS_PER_PROCESS]
        command = [sys.executable, __file__, *words, *batch]
        try:
            child = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
            output, fate = child.stdout, f"process ended with {child.returncode}: {child.stderr.strip()[-300:]}"
        except subprocess.TimeoutExpired as error:
            output, fate = (error.stdout or b"").decode(), f"timeout after {LIMIT_SECONDS} s"
        for line in output.splitlines():
            result = json.loads(line)
            results[result.pop("item")] = result
        unread = [item for item in batch if item not in results]
        if unread:
            results[unread[0]] = {"lost": fate}
        waiting = [item for item in waiting if item not in results]
    return results


def read_bounded(paths: list[Path]) -> dict[Path, dict[str, Any]]:
    """Read clips in child processes."""
    return {Path(path): result for path, result in run_bounded(["--read"], list(map(str, paths))).items()}


def encoded_clips(folder: Path) -> list[Path]:
    """Encode clips of all codecs in child processes, because an encoder may crash."""
    from benchmarks.damaged.encoding import software_encoders

    results = run_bounded(["--encode", str(folder)], software_encoders())
    for name, result in results.items():
        if "lost" in result:
            print(f"{name}: cannot be encoded: {result['lost']}", file=sys.stderr)
    return [Path(path) for result in results.values() for path in result.get("clips", [])]


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
    parser.add_argument("--codecs", action="store_true", help="also encode clips of all codecs, and damage these")
    parser.add_argument("--read", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--encode", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        read_all(arguments.read)
        return 0
    if arguments.encode:
        encode_all(Path(arguments.encode[0]), arguments.encode[1:])
        return 0
    clips = sorted(path for folder in arguments.folder for path in folder.rglob("*") if path.suffix in SUFFIXES)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "whole").mkdir()
        (place / "copies").mkdir()
        clips += encoded_clips(place / "whole") if arguments.codecs else []
        if not clips:
            parser.error("the folders contain no clips; name others, or add --codecs")
        whole = read_bounded(clips)
        unread = [clip for clip in clips if "frames" not in whole[clip]]
        for clip in unread:
            print(f"{clip.name}, undamaged, cannot be read: {whole[clip]}", file=sys.stderr)
        clips = [clip for clip in clips if clip not in unread]
        copies = make_copies(clips, place / "copies")
        results = read_bounded(list(copies))
    return max(report(whole, copies, results), int(any("lost" in whole[clip] for clip in unread)))


def report(
    whole: dict[Path, dict[str, Any]],
    copies: dict[Path, tuple[str, Path]],
    results: dict[Path, dict[str, Any]],
) -> int:
    """Print one line per kind of damage, per codec and per container; return 1 if any clip was lost."""
    lost = {path: result["lost"] for path, result in results.items() if "lost" in result}
    print(f"{len(copies)} damaged copies of {len({clip for _, clip in copies.values()})} clips, {len(lost)} lost")
    for title, key in (
        ("damage", lambda path: copies[path][0]),
        ("codec", lambda path: str(whole[copies[path][1]]["codec"])),
        ("container", lambda path: copies[path][1].suffix),
    ):
        groups: dict[str, Counter[str]] = defaultdict(Counter)
        for path, result in results.items():
            group = groups[key(path)]
            group["copies"] += 1
            group["read"] += "frames" in result
            group["refused"] += "error" in result
            group["lost"] += "lost" in result
            group["noted"] += bool(result.get("problems"))
            group["frames"] += result.get("frames", 0)
            group["of"] += whole[copies[path][1]]["frames"]
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

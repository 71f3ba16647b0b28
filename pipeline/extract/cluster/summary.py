"""The record of a run on a cluster: what each node, stage and video took, as `summary.json` and as a page."""

import heapq
import json
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any

from pipeline.extract.cluster.receipts import STAGES, Receipt
from pipeline.reporting.html_page import Block, Paragraph, Section, Table, render_page
from pose_extraction.errors import counted
from pose_extraction.files import atomic_write

# Number of videos in the list of the slowest ones.
SLOWEST = 20


@dataclass
class NodeTotals:
    """Totals of the actors of one machine.

    Args:
        actors: Number of actors that have loaded their networks.
        videos: Number of videos that ended, successfully or not.
        frames: Number of frames of written videos.
        wall: Seconds for which its actors existed, added up.
        busy: Seconds in which they had a video, added up.
        seconds: Seconds by stage; stages of different videos run at the same time.
        peak_memory: Maximum memory of one actor in bytes.
    """

    actors: int = 0
    videos: int = 0
    frames: int = 0
    wall: float = 0.0
    busy: float = 0.0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    peak_memory: int = 0

    def as_dict(self, node: str) -> dict[str, Any]:
        return {
            "node": node,
            "actors": self.actors,
            "videos": self.videos,
            "frames": self.frames,
            "wall_seconds": round(self.wall, 3),
            "busy_seconds": round(self.busy, 3),
            "idle_seconds": round(max(0.0, self.wall - self.busy), 3),
            "stages": {
                stage: {"busy_seconds": round(spent, 3), "idle_seconds": round(max(0.0, self.wall - spent), 3)}
                for stage, spent in self.seconds.items()
            },
            "peak_memory_bytes": self.peak_memory,
        }


class Summary:
    """Collects the receipts of a run."""

    def __init__(self) -> None:
        self._started = monotonic()
        self._nodes: dict[str, NodeTotals] = {}
        self._slowest: list[tuple[float, int, dict[str, Any]]] = []
        self._order = count()
        self._failures: Counter[str] = Counter()
        self._retries: Counter[str] = Counter()
        self._videos = self._frames = 0

    def actor_ready(self, node: str) -> None:
        """Counts an actor that has loaded its networks."""
        self._node(node).actors += 1

    def actor_ended(self, node: str, wall: float, busy: float) -> None:
        """Adds the life of an actor.

        Args:
            node: Its machine.
            wall: Seconds since it was ready.
            busy: Seconds in which it had a video.
        """
        totals = self._node(node)
        totals.wall += wall
        totals.busy += busy

    def video_ended(self, receipt: Receipt) -> None:
        """Adds a video or piece that has been written."""
        outcome, totals = receipt.outcome, self._node(receipt.node)
        ended = not outcome.is_part
        totals.videos += ended
        totals.frames += outcome.frames
        for stage, spent in receipt.seconds.items():
            totals.seconds[stage] += spent
        totals.peak_memory = max(totals.peak_memory, receipt.peak_memory)
        self._videos += ended
        self._frames += outcome.frames
        facts = {
            "file": outcome.work or outcome.source.relative,
            "seconds": round(receipt.elapsed, 3),
            "frames": outcome.frames,
            "node": receipt.node,
            "digest": outcome.digest,
        }
        heapq.heappush(self._slowest, (receipt.elapsed, next(self._order), facts))
        if len(self._slowest) > SLOWEST:
            heapq.heappop(self._slowest)

    def retried(self, kind: str) -> None:
        """Counts an attempt that failed and is repeated."""
        self._retries[kind] += 1

    def failed(self, kind: str) -> None:
        """Counts a video that was given up."""
        self._failures[kind] += 1

    def as_dict(self, *, complete: bool) -> dict[str, Any]:
        """Returns the content of `summary.json`.

        Args:
            complete: Whether the run reached its end.
        """
        wall = monotonic() - self._started
        slowest = sorted(self._slowest, reverse=True)
        return {
            "complete": complete,
            "wall_seconds": round(wall, 3),
            "videos": self._videos,
            "frames": self._frames,
            "frames_per_second": round(self._frames / wall, 3),
            "failed": self._failures.total(),
            "failures": dict(sorted(self._failures.items())),
            "retries": dict(sorted(self._retries.items())),
            "nodes": [totals.as_dict(node) for node, totals in sorted(self._nodes.items())],
            "slowest": [facts for _, _, facts in slowest],
        }

    def _node(self, node: str) -> NodeTotals:
        return self._nodes.setdefault(node, NodeTotals())


def summary_path(folder: Path, shard: tuple[int, int] | None) -> Path:
    """Path of the summary of a run.

    Args:
        folder: Folder of the skeleton files.
        shard: (I, N) if several runs share the folder; each shard then has its own summary.
    """
    return folder / ("summary.json" if shard is None else f"summary.{shard[0]}-of-{shard[1]}.json")


def write_summary(path: Path, content: dict[str, Any]) -> None:
    """Writes the summary, and a page of the same name with the same content.

    Args:
        path: `summary_path`.
        content: Of `Summary.as_dict`.
    """
    # Names that are not UTF-8 contain surrogates, which only escapes can represent.
    with atomic_write(path) as file:
        file.write((json.dumps(content, indent=2) + "\n").encode())
    with atomic_write(path.with_suffix(".html")) as file:
        file.write(page_of(content).encode("utf-8", "backslashreplace"))


def page_of(content: dict[str, Any]) -> str:
    """Returns the summary as a self-contained HTML page."""
    state = "" if content["complete"] else " The run was interrupted; the same command continues it."
    blocks: list[Block] = [
        Paragraph(
            f"{counted(content['videos'], 'video')} with {content['frames']} frames in "
            f"{_clock(content['wall_seconds'])}, "
            f"{content['frames_per_second']:.1f} frames per second; {content['failed']} failed.{state}"
        )
    ]
    if content["nodes"]:
        blocks += [Section("Nodes", [_nodes_table(content["nodes"])]), Section("Stages", _stages(content["nodes"]))]
    if content["slowest"]:
        videos = [
            (facts["file"], facts["node"], str(facts["frames"]), f"{facts['seconds']:.1f}")
            for facts in content["slowest"]
        ]
        blocks.append(Section("Slowest videos", [Table(("video", "node", "frames", "seconds"), videos, 2)]))
    kinds = sorted({*content["failures"], *content["retries"]})
    if kinds:
        rows = [(kind, str(content["failures"].get(kind, 0)), str(content["retries"].get(kind, 0))) for kind in kinds]
        blocks.append(
            Section(
                "Failures",
                [
                    Table(("kind", "videos given up", "attempts repeated"), rows, 1),
                    Paragraph("`errors.jsonl` lists the videos with the reasons."),
                ],
            )
        )
    return render_page("Extraction on a cluster", blocks)


def _nodes_table(nodes: list[dict[str, Any]]) -> Table:
    head = ("node", "actors", "videos", "frames", "frames/s", "wall", "busy", "idle", "idle %", "peak memory per actor")
    rows = []
    for node in nodes:
        wall = node["wall_seconds"]
        rows.append(
            (
                node["node"],
                *(str(node[name]) for name in ("actors", "videos", "frames")),
                # Its actors work at the same time: their mean wall time is that of the node.
                f"{node['frames'] * node['actors'] / wall:.1f}" if wall else "",
                *(_clock(node[f"{name}_seconds"]) for name in ("wall", "busy", "idle")),
                f"{100 * node['idle_seconds'] / wall:.0f}" if wall else "",
                f"{node['peak_memory_bytes'] / 2**20:.0f} MiB",
            )
        )
    return Table(head, rows, 1)


def _stages(nodes: list[dict[str, Any]]) -> list[Block]:
    rows = []
    for node in nodes:
        for stage, spent in node["stages"].items():
            wall = node["wall_seconds"]
            share = f"{100 * spent['busy_seconds'] / wall:.0f}" if wall else ""
            times = (f"{spent['busy_seconds']:.1f}", f"{spent['idle_seconds']:.1f}")
            rows.append((node["node"], stage, *times, share))
    note = Paragraph(
        "Seconds of all actors of a node. The stages of different videos run at the same time, so their shares of the "
        "wall time need not add up to 100 %; the stage with the highest share limits the speed."
    )
    return [Table(("node", "stage", "busy", "idle", "busy %"), rows, 2), note]


def _clock(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}"

"""A process of the cluster that keeps the networks loaded, and extracts the videos that the driver sends.

`VideoActor` knows nothing of Ray. This module imports nothing heavy: the number of threads must be set before the
numeric libraries are loaded.
"""

import logging
import queue
import resource
import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING

from pipeline.cluster.messages import Ready, Status
from pipeline.cluster.process import begin_process, enter_folder
from pipeline.extract.cluster.receipts import STAGES, Receipt
from pipeline.inputs.labels import ClipLabel
from pipeline.inputs.videos import Source
from pose_extraction.errors import SkelpipeError

if TYPE_CHECKING:
    from pipeline.extract.pieces import Work
    from pipeline.extract.plan import ExtractionPlan
    from pipeline.extract.results.jobs import Outcome
    from pose_extraction.networks.identity import NetworkIdentity
    from pose_extraction.video.reader import VideoInfo

# Seconds for which a decoder waits for the next video before it ends the batch.
NEXT_VIDEO_SECONDS = 0.2
# A header may claim any number of frames.
LONGEST_VIDEO = 86400.0

log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Begun:
    """A video or piece of this actor.

    Args:
        clips: Id of the video, by which its clips are stored.
        future: Resolved with its receipt.
        since: When its first frame was processed; None before that.
        duration: Its duration in seconds; 0 if unknown.
    """

    clips: str
    future: Future[Receipt]
    since: float | None = None
    duration: float = 0.0


class VideoActor:
    """Extracts videos with networks that are loaded once.

    Args:
        cpus: Number of cores; each network gets that many threads.
        log_level: Level of the log.
        node_id: Ray's id of the node.
    """

    def __init__(self, cpus: int, log_level: int = logging.WARNING, node_id: str = "") -> None:
        begin_process(cpus, log_level)
        self._node, self._node_id = socket.gethostname(), node_id
        self._waiting: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self._clips: dict[str, Sequence[ClipLabel]] = {}
        self._begun: dict[str, _Begun] = {}
        self._frames = 0
        self._progress = monotonic()
        self._network_seconds = 0.0

    def open(self, plan: "ExtractionPlan", folder: str | None, marker: str) -> Ready:
        """Load the networks.

        Args:
            plan: The plan of the driver, without clips.
            folder: Working directory of the driver, which relative paths refer to; None if there are none.
            marker: Path or URL of a file in the output folder that the driver has created.

        Raises:
            SkelpipeError: The node lacks the folders, or its networks, libraries or processor differ from those of
                the driver, so that its results would differ, too.
        """
        enter_folder(self._node, folder, marker)
        plan = plan.on_this_machine()
        estimator, detector = self._networks(plan)
        # One dictionary of the clips of the current videos: those of all videos would fill the memory of each actor.
        self._plan = replace(plan, estimator=estimator, detector=detector, clips=self._clips)
        from pipeline.extract.device import open_extractor

        self._extractor = open_extractor(self._plan)
        threading.Thread(target=self._work, name="videos", daemon=True).start()
        # One in the networks, and on a GPU, which is faster than the rest, one that is tracked and written.
        others = 1 if estimator.engine.on_cpu else 2
        return Ready(self._node, self._node_id, self._extractor.workers + others)

    def run(self, work: "Work", name: str, clips: Sequence[ClipLabel]) -> Receipt:
        """Extract a video and write its file; several threads may call this at a time.

        Args:
            work: The video, or a piece of it.
            name: See `name_of_work`.
            clips: Its clips.
        """
        future: Future[Receipt] = Future()
        source = work if isinstance(work, Source) else work.source
        self._clips[source.frame_dir] = clips
        self._begun[name] = _Begun(source.frame_dir, future)
        self._note_progress()
        self._waiting.put(work)
        return future.result()

    def status(self) -> Status:
        """Return the progress."""
        duration = max((begun.duration for begun in list(self._begun.values())), default=0.0)
        return Status(self._frames, monotonic() - self._progress, duration)

    def _networks(self, plan: "ExtractionPlan") -> "tuple[NetworkIdentity, NetworkIdentity | None]":
        """Find the networks on this machine; their files may have other paths than on the driver."""
        import cv2
        from rich.console import Console

        from pipeline.extract.networks import identify_networks
        from pose_extraction.engines.devices import cpu_count

        cv2.setNumThreads(cpu_count())
        console = Console(stderr=True)
        estimator, detector = identify_networks(plan.settings, [plan.settings.device], None, console)
        for wanted, found in ((plan.estimator, estimator), (plan.detector, detector)):
            ours = found.facts() if found is not None else {}
            theirs = wanted.facts() if wanted is not None else {}
            differences = [
                f"{name} {ours.get(name)} instead of {value}"
                for name, value in theirs.items()
                if ours.get(name) != value
            ]
            if differences:
                raise SkelpipeError(
                    f"{self._node}: would give other results, with {', '.join(differences)}; install the same versions "
                    "on all nodes, and set --precision and --backend if their processors differ"
                )
        return estimator, detector

    def _work(self) -> None:
        while True:
            first = self._waiting.get()
            try:
                self._stream(first)
            except Exception as error:
                log.warning("the videos in progress failed", exc_info=True)
                text = f"{type(error).__name__}: {error}"
                for name in list(self._begun):
                    self._begun.pop(name).future.set_exception(SkelpipeError(text))

    def _stream(self, first: "Work") -> None:
        """Extract videos until none is waiting, so that the last ones are not held back by a batch that is not full."""
        from pipeline.extract.device import run_device

        def work() -> "Iterator[Work]":
            yield first
            while True:
                try:
                    yield self._waiting.get(timeout=NEXT_VIDEO_SECONDS)
                except queue.Empty:
                    return

        run_device(
            self._plan,
            work(),
            on_video=self._on_video,
            on_frame=self._on_frame,
            on_start=self._on_start,
            # A copy may take longer than a video that hangs.
            on_copy=self._note_progress,
            extractor=self._extractor,
        )

    def _note_progress(self) -> None:
        self._progress = monotonic()

    def _on_frame(self) -> None:
        self._frames += 1
        self._note_progress()

    def _on_start(self, name: str, info: "VideoInfo | None") -> None:
        self._note_progress()
        begun = self._begun[name]
        begun.since = monotonic()
        if info is not None:
            begun.duration = min(info.claimed_frames / info.fps, LONGEST_VIDEO)

    def _on_video(self, outcome: "Outcome") -> None:
        self._note_progress()
        if self._plan.mirror is not None:
            # It is at the URL; those of all runs would fill the cache of this node.
            self._plan.file_of(outcome.source).unlink(missing_ok=True)
        begun = self._begun.pop(outcome.work)
        if all(other.clips != begun.clips for other in list(self._begun.values())):
            self._clips.pop(begun.clips, None)
        times = self._extractor.times
        total = times.detect + times.crop + times.network + times.decode
        networks, self._network_seconds = total - self._network_seconds, total
        elapsed = monotonic() - begun.since if begun.since is not None else 0.0
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        seconds = {**dict.fromkeys(STAGES, 0.0), **outcome.seconds, "networks": networks}
        begun.future.set_result(Receipt(outcome, seconds, elapsed, self._frames, peak, self._node))


class RemoteActor(VideoActor):
    """An actor that knows on which node Ray has placed it."""

    def __init__(self, cpus: int, log_level: int) -> None:
        import ray

        super().__init__(cpus, log_level, ray.get_runtime_context().get_node_id())

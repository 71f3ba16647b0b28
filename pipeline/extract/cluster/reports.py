"""Where the driver reports what happens: the workflow, the summary, and Prometheus."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pipeline.cluster.schedule import Kind, Task
from pipeline.extract.cluster.metrics import Metrics
from pipeline.extract.cluster.receipts import Receipt
from pipeline.extract.cluster.summary import Summary
from pipeline.extract.cluster.tasks import source_of
from pipeline.inputs.videos import Source

if TYPE_CHECKING:
    from pipeline.extract.results.jobs import Outcome


@dataclass(frozen=True)
class VideoReports:
    """Takes the events of a run.

    Args:
        summary: Takes receipts and lives of actors.
        metrics: The same for Prometheus; None for no metrics.
        on_video: Called after each video, whether it succeeded or failed.
        on_frame: Called for every frame.
        show: Prints a message.
    """

    summary: Summary
    metrics: Metrics | None
    on_video: Callable[["Outcome"], None]
    on_frame: Callable[[], None]
    show: Callable[[str], None]
    _ended: set[Source] = field(default_factory=set, init=False)

    def finished(self, task: Task, receipt: Receipt) -> None:
        """Reports a video or piece that has been written."""
        outcome = receipt.outcome
        if outcome.source in self._ended:
            # Two actors have joined its pieces.
            receipt = replace(receipt, outcome=replace(outcome, is_part=True))
        elif not outcome.is_part:
            self._ended.add(outcome.source)
        self.summary.video_ended(receipt)
        if self.metrics is not None:
            self.metrics.video_ended(receipt)
        if outcome.error is not None:
            # Some of its clips, or the overlay.
            self._count_failure("incomplete")
        self.on_video(receipt.outcome)

    def given_up(self, task: Task, kind: Kind, reason: str, receipt: Receipt | None) -> None:
        """Reports a video without a result."""
        self._count_failure(kind)
        if receipt is not None:
            self.on_video(receipt.outcome)
            return
        from pipeline.extract.results.jobs import Outcome

        source = source_of(task.work)
        self.on_video(Outcome(source, error=f"{source.shown}: {reason}", work=task.name))

    def retried(self, kind: Kind) -> None:
        """Reports an attempt that failed and is repeated."""
        self.summary.retried(kind)
        if self.metrics is not None:
            self.metrics.retried(kind)

    def progress(self, count: int) -> None:
        """Reports processed frames."""
        if self.metrics is not None:
            self.metrics.frames(count)
        for _ in range(count):
            self.on_frame()

    def state(self, *, waiting: int, running: int, actors: int) -> None:
        """Reports the present numbers of waiting videos, videos in progress and actors."""
        if self.metrics is not None:
            self.metrics.state(waiting=waiting, running=running, actors=actors)

    def actor_ready(self, node: str) -> None:
        """Reports an actor that has loaded its networks."""
        self.summary.actor_ready(node)

    def actor_ended(self, node: str, wall: float, busy: float) -> None:
        """Reports the life of an actor; see `Summary.actor_ended`."""
        self.summary.actor_ended(node, wall, busy)

    def say(self, text: str) -> None:
        """Prints a message."""
        self.show(text)

    def _count_failure(self, kind: str) -> None:
        self.summary.failed(kind)
        if self.metrics is not None:
            self.metrics.failed(kind)

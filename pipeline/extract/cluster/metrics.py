"""Measurements of a run on a cluster for Prometheus."""

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.extract.cluster.receipts import Receipt
from pose_extraction.errors import BackendError, UsageError, installing


class Metrics:
    """Measurements of one run.

    Raises:
        BackendError: The package is not installed.
    """

    def __init__(self) -> None:
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge
        except ImportError as error:
            raise BackendError(f"--metrics-port needs prometheus-client; run {installing('ray')}") from error
        self.registry = CollectorRegistry()
        self._videos = Counter("skelpipe_videos", "Videos that ended.", ["outcome"], registry=self.registry)
        self._frames = Counter("skelpipe_frames", "Processed frames.", registry=self.registry)
        self._retries = Counter("skelpipe_retries", "Attempts that are repeated.", ["kind"], registry=self.registry)
        self._stages = Counter(
            "skelpipe_stage_seconds", "Seconds of all actors by stage.", ["node", "stage"], registry=self.registry
        )
        self._waiting = Gauge("skelpipe_waiting_videos", "Videos that wait.", registry=self.registry)
        self._running = Gauge("skelpipe_running_videos", "Videos in progress.", registry=self.registry)
        self._actors = Gauge("skelpipe_actors", "Actors with loaded networks.", registry=self.registry)

    def video_ended(self, receipt: Receipt) -> None:
        """Counts a video that has been written."""
        self._videos.labels("extracted").inc(not receipt.outcome.is_part)
        for stage, seconds in receipt.seconds.items():
            self._stages.labels(receipt.node, stage).inc(seconds)

    def failed(self, kind: str) -> None:
        """Counts a video that was given up."""
        self._videos.labels(kind).inc()

    def retried(self, kind: str) -> None:
        """Counts an attempt that failed and is repeated."""
        self._retries.labels(kind).inc()

    def frames(self, count: int) -> None:
        """Counts processed frames."""
        self._frames.inc(count)

    def state(self, *, waiting: int, running: int, actors: int) -> None:
        """Sets the present numbers of waiting videos, videos in progress and actors."""
        self._waiting.set(waiting)
        self._running.set(running)
        self._actors.set(actors)


@contextmanager
def served_metrics(port: int | None) -> Iterator[Metrics | None]:
    """Serves measurements for the duration of a block.

    Args:
        port: TCP port; None for no measurements.

    Raises:
        UsageError: The port is in use.
    """
    if port is None:
        yield None
        return
    metrics = Metrics()
    from prometheus_client import start_http_server

    try:
        server, thread = start_http_server(port, registry=metrics.registry)
    except OSError as error:
        raise UsageError(f"--metrics-port {port}: cannot be opened ({error.strerror}); choose another port") from error
    try:
        yield metrics
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

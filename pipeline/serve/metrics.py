"""Measurements for Prometheus."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from pipeline.serve.records import DONE, QUEUED, Job
from pipeline.serve.store import Store

# Upper limits of the durations of stages, in seconds.
BUCKETS = (0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800, 7200)


class Metrics:
    """Measurements of a service since its start."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._jobs = Gauge("skelpipe_jobs", "Jobs by state.", ["state"], registry=self._registry)
        self._queue = Gauge("skelpipe_queue_length", "Jobs that wait.", registry=self._registry)
        self._free = Gauge("skelpipe_free_bytes", "Free disk space in bytes.", registry=self._registry)
        self._stages = Histogram(
            "skelpipe_stage_seconds", "Duration of the stages of a job.", ["stage"], buckets=BUCKETS,
            registry=self._registry,
        )  # fmt: skip
        self._frames = Counter("skelpipe_frames", "Processed frames.", registry=self._registry)
        self._errors = Counter("skelpipe_errors", "Jobs without a result, by kind.", ["kind"], registry=self._registry)
        self._requests = Gauge(
            "skelpipe_skeleton_requests", "Requests for skeletons without an answer.", ["state"],
            registry=self._registry,
        )  # fmt: skip
        self._shared = Histogram(
            "skelpipe_shared_requests", "Requests for skeletons per batch.", buckets=(1, 2, 4, 8, 16, 32),
            registry=self._registry,
        )  # fmt: skip

    def ended(self, job: Job) -> None:
        """Count a job that has ended."""
        if job.state == DONE:
            self._frames.inc(job.outcome.get("frames", 0))
            for stage, seconds in job.outcome.get("seconds", {}).items():
                self._stages.labels(stage).observe(seconds)
        elif job.kind is not None:
            self._errors.labels(job.kind).inc()

    def shared(self, requests: int) -> None:
        """Count a request for skeletons.

        Args:
            requests: Number of requests in its batch.
        """
        self._shared.observe(requests)

    def text(self, store: Store, free: int, requests: Mapping[str, int]) -> bytes:
        """Return all measurements in Prometheus' text format.

        Args:
            store: The jobs.
            free: Free disk space in bytes.
            requests: Number of requests for skeletons without an answer, by state.
        """
        counts = store.counts()
        for state, count in counts.items():
            self._jobs.labels(state).set(count)
        for state, count in requests.items():
            self._requests.labels(state).set(count)
        self._queue.set(counts[QUEUED])
        self._free.set(free)
        return generate_latest(self._registry)

"""Computes and stores the results of runs under damage, in this process or by the actors of a Ray cluster."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from pipeline.cluster.job_actor import Progress
from pipeline.cluster.jobs import ClusterJobs
from pipeline.robustness.subjects import Subject, translation_of
from pipeline.robustness.tasks import Cache, Task, Worker, passes_of_task
from pose_extraction.engines.engine import Engine
from pose_extraction.errors import SkelpipeError
from recognition.inference.clip_networks import resolve_clip_engine
from recognition.runs import load_run

# One result: a run, and what is measured on it.
Measurement = tuple[Subject, Task]


class Measuring:
    """Computes results one after the other, and keeps the network of the run that was used last.

    Args:
        cache: Store of results and settings.
        skip_bad: Whether to skip malformed clips.
    """

    def __init__(self, cache: Cache, *, skip_bad: bool) -> None:
        self._cache, self._skip_bad = cache, skip_bad
        self._worker: tuple[Subject, Worker] | None = None

    def prepare(self) -> None:
        """Checks that this machine would have the results that the store expects.

        Raises:
            SkelpipeError: It computes with another library or precision.
        """
        wanted = self._cache.engine
        found = resolve_clip_engine(wanted)
        if found.facts() != wanted.facts():
            raise SkelpipeError(
                f"would compute with {found.facts()} instead of {wanted.facts()}; set --precision and --backend"
            )

    def worker(self, subject: Subject) -> Worker:
        """Returns the worker of a run."""
        if self._worker is None or self._worker[0] != subject:
            # The earlier network goes first, so that memory holds one.
            self._worker = None
            trained = load_run(subject.path)
            translation = translation_of(trained, self._cache.label_names)
            self._worker = subject, Worker(trained, translation, self._cache, skip_bad=self._skip_bad)
        return self._worker[1]

    def do(self, job: Measurement, progress: Progress) -> None:
        """Computes and stores one result.

        Args:
            job: The run and the result.
            progress: Called with the number of clips after each forward pass.
        """
        subject, task = job
        self._cache.write(subject, task, self.worker(subject).do(task, progress))


def size_of(cache: Cache, task: Task) -> int:
    """Number of clips times forward passes, at least 1."""
    return max(1, len(cache.sources[task.source].names)) * passes_of_task(task, cache.settings)


def measure_on_cluster(
    cluster: ClusterJobs,
    cache: Cache,
    todo: Sequence[Measurement],
    *,
    skip_bad: bool,
    progress: Callable[[int], None] = lambda count: None,
) -> None:
    """Computes and stores results on the connected cluster.

    Args:
        cluster: The cluster.
        cache: Store of results and settings, on storage that all nodes share.
        todo: The results.
        skip_bad: Whether to skip malformed clips.
        progress: Called with numbers of clips.

    Raises:
        SkelpipeError: No actor can start, or a result could not be computed on several actors.
    """
    failures: list[str] = []

    def ended(job: Measurement, result: None, reason: str | None) -> None:
        if reason is not None:
            failures.append(f"{job[0].name}, {job[1].condition.name}: {reason}")

    # Actors open the files themselves.
    sent = replace(cache, sources=[replace(source, opened={}) for source in cache.sources])
    jobs = [((subject, task), float(size_of(cache, task))) for subject, task in todo]
    paths = [*(subject.path for subject, _ in todo), *(source.path for source in cache.sources)]
    cluster.run(Measuring(sent, skip_bad=skip_bad), jobs, cache.folder, paths=paths, ended=ended, progress=progress)
    if failures:
        raise SkelpipeError(f"{len(failures)} of {len(todo)} results could not be computed; {failures[0]}")


def engine_for(engine: Engine, cluster: ClusterJobs | None) -> Engine:
    """Returns an engine without "auto", as this machine or the actors of a cluster resolve it.

    Args:
        engine: The requested engine.
        cluster: The connected cluster; None for this machine.

    Raises:
        BackendError: The combination is not available.
    """
    if cluster is None:
        return resolve_clip_engine(engine)
    engine = replace(engine, device=cluster.device)
    return cluster.ask(resolve_clip_engine, engine) if cluster.demand.gpus else resolve_clip_engine(engine)

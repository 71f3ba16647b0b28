"""Extraction on a Ray cluster, as an executor of `pipeline.extract.workflow`."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from pipeline.cluster.connection import Demand, connected, demand_of, living_nodes, on_a_node
from pipeline.cluster.driver import Driver
from pipeline.cluster.options import ClusterOptions
from pipeline.cluster.process import marked
from pipeline.cluster.schedule import Task
from pipeline.cluster.workers import Setup
from pipeline.extract.cluster.actor import RemoteActor
from pipeline.extract.cluster.metrics import served_metrics
from pipeline.extract.cluster.reports import VideoReports
from pipeline.extract.cluster.summary import Summary, summary_path, write_summary
from pipeline.extract.cluster.tasks import sizes_of, source_of, tasks_of, working_folder
from pipeline.extract.settings import ExtractSettings
from pipeline.inputs.videos import Source
from pipeline.reporting.progress import RunProgress

if TYPE_CHECKING:
    from pipeline.extract.pieces import Work
    from pipeline.extract.plan import ExtractionPlan
    from pipeline.extract.results.jobs import Outcome
    from pose_extraction.networks.identity import NetworkIdentity


@dataclass(frozen=True)
class ClusterExecutor:
    """Extracts with the actors of the connected cluster.

    Args:
        settings: Settings with the device of an actor.
        options: See `ClusterOptions`.
        demand: What an actor needs.
        shard: (I, N) if several runs share the output folder.
    """

    settings: ExtractSettings
    options: ClusterOptions
    demand: Demand
    shard: tuple[int, int] | None

    @property
    def is_elsewhere(self) -> bool:
        return True

    def identify(self, console: Console) -> "tuple[NetworkIdentity, NetworkIdentity | None]":
        """Returns estimator and detector; those for a GPU are found on a node that has one."""
        if not self.demand.gpus:
            return _identify(self.settings, console)
        return on_a_node(self.demand, _identify, self.settings, None)

    def sizes(self, work: Sequence[Source]) -> dict[Source, int]:
        """Returns the size of each video in bytes: the largest come first, so their number says little of the rest."""
        return sizes_of(work)

    def run(
        self,
        plan: "ExtractionPlan",
        work: "Iterable[Work]",
        sizes: Mapping[Source, int],
        shown: RunProgress,
        on_video: Callable[["Outcome"], None],
        rest: "Callable[[], Iterable[Work]]",
    ) -> None:
        """Extracts videos; writes `summary.json` and its page, also when it is interrupted."""
        summary, complete = Summary(), False
        tasks = tasks_of(work, sizes)

        def arguments(task: Task) -> tuple[Any, ...]:
            return task.work, task.name, plan.clips[source_of(task.work).frame_dir]

        try:
            with (
                marked(plan.folder, alone=self.shard is None) as marker,
                _published(plan, marker) as place,
                served_metrics(self.options.metrics_port) as metrics,
            ):
                # The clips of all videos would fill the memory of each actor.
                opening = (replace(plan, clips={}), working_folder(plan, tasks), place)
                setup = Setup(self.options, self.demand, RemoteActor, opening, arguments)
                say = partial(shown.say, style="yellow")
                reports = VideoReports(summary, metrics, on_video, shown.frame, say)
                Driver(tasks, setup, reports).run()
                Driver(tasks_of(rest(), sizes), setup, reports).run()
            complete = True
        finally:
            path = summary_path(plan.folder, self.shard)
            try:
                write_summary(path, summary.as_dict(complete=complete))
            except OSError as error:
                # A full disk must not hide why the run ended.
                shown.say(f"{path}: cannot write the file ({error.strerror})", style="red")


@contextmanager
def opened_cluster(
    settings: ExtractSettings, options: ClusterOptions, shard: tuple[int, int] | None
) -> Iterator[tuple[ClusterExecutor, ExtractSettings]]:
    """Connects to a cluster for the duration of a block.

    Args:
        settings: See `ExtractSettings`.
        options: See `ClusterOptions`.
        shard: See `Share`.

    Yields:
        The executor, and the settings with the device of an actor.

    Raises:
        BackendError: There is no cluster, or it has no room for an actor.
    """
    with connected(options):
        demand = demand_of(options, living_nodes(), settings.device)
        # Ray shows each actor only its own GPU.
        settings = settings.model_copy(update={"device": "cuda:0" if demand.gpus else "cpu"})
        yield ClusterExecutor(settings, options, demand, shard), settings


@contextmanager
def _published(plan: "ExtractionPlan", marker: Path) -> Iterator[str]:
    """Yields the path or URL at which actors look for the marker."""
    if plan.mirror is None:
        yield str(marker)
        return
    plan.publish(marker)
    try:
        yield plan.mirror.url_of(marker)
    finally:
        plan.mirror.remove(marker)


def _identify(settings: ExtractSettings, console: Console | None) -> "tuple[NetworkIdentity, NetworkIdentity | None]":
    from pipeline.extract.networks import identify_networks

    return identify_networks(settings, [settings.device], None, console or Console(stderr=True))

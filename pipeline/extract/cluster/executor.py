"""Extraction on a Ray cluster, as an executor of `pipeline.extract.workflow`."""

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console

from pipeline.extract.cluster.connection import Demand, cause_of, connected, demand_of, living_nodes
from pipeline.extract.cluster.driver import Driver, sizes_of, tasks_of
from pipeline.extract.cluster.metrics import served_metrics
from pipeline.extract.cluster.options import ClusterOptions
from pipeline.extract.cluster.reports import Reports
from pipeline.extract.cluster.summary import Summary, summary_path, write_summary
from pipeline.extract.cluster.workers import Setup
from pipeline.extract.settings import ExtractSettings
from pipeline.inputs.videos import Source
from pipeline.reporting.progress import RunProgress
from pose_extraction.errors import SkelpipeError

if TYPE_CHECKING:
    from pipeline.extract.device import Outcome
    from pipeline.extract.pieces import Work
    from pipeline.extract.plan import ExtractionPlan
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

    def identify(self, console: Console) -> "tuple[NetworkIdentity, NetworkIdentity | None]":
        """Returns estimator and detector; those for a GPU are found on a node that has one."""
        if not self.demand.gpus:
            return _identify(self.settings, console)
        import ray

        found = ray.remote(**self.demand.options())(_identify).remote(self.settings, None)
        try:
            return ray.get(found)
        except ray.exceptions.RayError as error:
            cause = cause_of(error)
            if isinstance(cause, SkelpipeError):
                raise cause from error
            raise SkelpipeError(f"no node of the cluster can load the networks: {error}") from error

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
    ) -> None:
        """Extracts videos; writes `summary.json` and its page, also when it is interrupted."""
        summary, complete = Summary(), False
        marker = plan.folder / f".ray-{secrets.token_hex(8)}"
        for old in plan.folder.glob(".ray-*"):
            if self.shard is None:
                # Of a driver that was killed.
                old.unlink(missing_ok=True)
        marker.touch()
        try:
            with served_metrics(self.options.metrics_port) as metrics:
                setup = Setup(self.options, self.demand, marker)
                reports = Reports(summary, metrics, on_video, shown.frame, lambda text: shown.say(text, style="yellow"))
                Driver(plan, tasks_of(work, sizes), setup, reports).run()
            complete = True
        finally:
            marker.unlink(missing_ok=True)
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


def _identify(settings: ExtractSettings, console: Console | None) -> "tuple[NetworkIdentity, NetworkIdentity | None]":
    from pipeline.extract.networks import identify_networks

    return identify_networks(settings, [settings.device], None, console or Console(stderr=True))

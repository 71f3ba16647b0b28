"""Where the networks of an extraction run: in this process and processes of this machine, or on a cluster."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.console import Console

from pipeline.extract.settings import ExtractSettings
from pipeline.inputs.videos import Source
from pipeline.reporting.progress import RunProgress
from pose_extraction.engines.devices import parse_devices
from pose_extraction.errors import UsageError

if TYPE_CHECKING:
    from pipeline.cluster.options import ClusterOptions
    from pipeline.extract.pieces import Work
    from pipeline.extract.plan import ExtractionPlan
    from pipeline.extract.results.jobs import Outcome
    from pose_extraction.networks.detection import PersonDetector
    from pose_extraction.networks.identity import NetworkIdentity


class Executor(Protocol):
    """Finds the networks, and extracts videos."""

    @property
    def is_elsewhere(self) -> bool:
        """Whether other machines write the results."""
        ...

    def identify(self, console: Console) -> "tuple[NetworkIdentity, NetworkIdentity | None]":
        """Returns estimator and detector; see `identify_networks`."""
        ...

    def sizes(self, work: Sequence[Source]) -> dict[Source, int]:
        """Returns the share of each video in the time left."""
        ...

    def run(
        self,
        plan: "ExtractionPlan",
        work: "Iterable[Work]",
        sizes: Mapping[Source, int],
        shown: RunProgress,
        on_video: Callable[["Outcome"], None],
        rest: "Callable[[], Iterable[Work]]",
    ) -> None:
        """Extracts videos and writes their files.

        Args:
            plan: See `ExtractionPlan`.
            work: The videos, or pieces of them.
            sizes: `sizes` of the videos.
            shown: Takes frames and messages.
            on_video: Called after each video, whether it succeeded or failed.
            rest: Called at the end; returns what is left, which is processed, too.
        """
        ...


class LocalExecutor:
    """Extracts on the devices of this machine.

    Args:
        settings: See `ExtractSettings`.
        detector: Replaces the detector of the settings.

    Raises:
        UsageError: The devices are malformed, or cannot use the detector.
    """

    is_elsewhere = False

    def __init__(self, settings: ExtractSettings, detector: "PersonDetector | None") -> None:
        self._settings, self._detector = settings, detector
        self._devices = parse_devices(settings.device)
        if detector is not None and len(self._devices) > 1:
            raise UsageError(f"a custom detector works on one device only, not on {settings.device}")

    def identify(self, console: Console) -> "tuple[NetworkIdentity, NetworkIdentity | None]":
        from pipeline.extract.networks import identify_networks

        return identify_networks(self._settings, self._devices, self._detector, console)

    def sizes(self, work: Sequence[Source]) -> dict[Source, int]:
        # In the order of their names, in which all videos are equally likely to be long.
        return dict.fromkeys(work, 1)

    def run(
        self,
        plan: "ExtractionPlan",
        work: "Iterable[Work]",
        sizes: Mapping[Source, int],
        shown: RunProgress,
        on_video: Callable[["Outcome"], None],
        rest: "Callable[[], Iterable[Work]]",
    ) -> None:
        from pipeline.extract.device import run_device
        from pipeline.extract.processes import run_devices

        def extract(works: "Iterable[Work]") -> None:
            if len(self._devices) == 1:
                run_device(plan, works, on_video=on_video, on_frame=shown.frame, detector=self._detector)
            else:
                run_devices(plan, list(works), self._devices, on_video=on_video, on_frame=shown.frame)

        extract(work)
        if left := list(rest()):
            extract(left)


@contextmanager
def opened_executor(
    settings: ExtractSettings,
    detector: "PersonDetector | None",
    cluster: "ClusterOptions | None",
    shard: tuple[int, int] | None,
) -> Iterator[tuple[Executor, ExtractSettings]]:
    """Opens an executor for the duration of a block.

    Args:
        settings: See `ExtractSettings`.
        detector: Custom person detector, if any.
        cluster: How to use a cluster; None for this machine.
        shard: See `Share`.

    Yields:
        The executor, and the settings with the device that it uses.

    Raises:
        UsageError: The options contradict each other.
        BackendError: There is no cluster.
    """
    if cluster is None:
        yield LocalExecutor(settings, detector), settings
        return
    if detector is not None:
        raise UsageError("a custom detector works in this process only, not with --engine ray")
    from pipeline.extract.cluster.executor import opened_cluster

    with opened_cluster(settings, cluster, shard) as opened:
        yield opened

"""Extraction on several devices of one machine: one process per device, each requesting the next video when idle.

The main process hands out the videos through one pipe per process. Nothing is shared, so that a killed process never
leaves a lock behind that blocks the others.
"""

import logging
import multiprocessing
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from pipeline.extract.device import run_device
from pipeline.extract.pieces import Piece, Work, name_of_work
from pipeline.extract.plan import ExtractionPlan
from pipeline.extract.results.jobs import Outcome
from pipeline.inputs.videos import Source
from pose_extraction.errors import SkelpipeError
from pose_extraction.networks.identity import NetworkIdentity

# Number of frames that a process reports at once.
FRAMES_PER_REPORT = 32

log = logging.getLogger(__name__)


@dataclass
class _Child:
    """Process of a device, and its unfinished videos and pieces by `name_of_work`."""

    device: str
    process: BaseProcess
    unfinished: dict[str, Work] = field(default_factory=dict)

    def exit_message(self) -> str:
        code = self.process.exitcode
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with status {code}"
        return f"the process of device {self.device} {how}; run the command again to retry this video"


def run_devices(
    plan: ExtractionPlan,
    work: Sequence[Work],
    devices: Sequence[str],
    *,
    on_video: Callable[[Outcome], None],
    on_frame: Callable[[], None],
) -> None:
    """Extracts videos on several devices in parallel.

    If a process dies, its unfinished videos are reported as failed, and the other processes continue.

    Args:
        plan: See `ExtractionPlan`.
        work: The videos, or pieces of them.
        devices: Device names.
        on_video: Called after each video, whether it succeeded or failed.
        on_frame: Called for every frame.

    Raises:
        SkelpipeError: A device cannot load its networks.
    """
    supply = deque(work)
    children = _start(plan, devices)
    try:
        while children:
            for connection in wait(list(children)):
                assert isinstance(connection, Connection)
                child = children[connection]
                try:
                    kind, value = connection.recv()
                except (EOFError, OSError):
                    del children[connection]
                    child.process.join()
                    for source in map(_source_of, child.unfinished.values()):
                        on_video(Outcome(source, error=f"{source.shown}: {child.exit_message()}"))
                    continue
                if kind == "next":
                    following = supply.popleft() if supply else None
                    if following is not None:
                        child.unfinished[name_of_work(following)] = following
                    # Sending fails if the process has just died; the next iteration handles that.
                    with suppress(OSError):
                        connection.send(following)
                elif kind == "frames":
                    for _ in range(value):
                        on_frame()
                elif kind == "video":
                    del child.unfinished[value.work]
                    on_video(value)
                else:
                    raise value
    finally:
        for child in children.values():
            child.process.terminate()
            child.process.join()
    for source in map(_source_of, supply):
        on_video(
            Outcome(source, error=f"{source.shown}: not processed, because the processes of all devices have ended")
        )


def _source_of(work: Work) -> Source:
    return work.source if isinstance(work, Piece) else work


def _start(plan: ExtractionPlan, devices: Sequence[str]) -> dict[Connection, _Child]:
    context = multiprocessing.get_context("spawn")
    children: dict[Connection, _Child] = {}
    # Starting this helper unblocks SIGINT, so start it before blocking the signal.
    resource_tracker.ensure_running()
    # Ctrl-C reaches the whole process group. Child processes inherit the blocked signal, so that only this process
    # handles it and terminates the others.
    before = _block_interrupts()
    try:
        for device in devices:
            ours, theirs = context.Pipe()
            arguments = _on_device(plan, device), theirs, logging.getLogger().getEffectiveLevel()
            process = context.Process(target=_device_process, args=arguments, daemon=True)
            process.start()
            # Only the child may hold its end, or its death would not close the pipe.
            theirs.close()
            children[ours] = _Child(device, process)
    finally:
        if before is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return children


def _block_interrupts() -> set[Any] | None:
    """Block Ctrl-C and return the signals that were blocked before; None on Windows, which cannot block signals."""
    if not hasattr(signal, "pthread_sigmask"):
        return None
    return signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _on_device(plan: ExtractionPlan, device: str) -> ExtractionPlan:
    def moved(identity: NetworkIdentity) -> NetworkIdentity:
        if identity.engine.on_cpu:
            # An ONNX network stays on the CPU if its runtime has no CUDA support.
            return identity
        return replace(identity, engine=replace(identity.engine, device=device))

    return replace(plan, estimator=moved(plan.estimator), detector=moved(plan.detector) if plan.detector else None)


def _device_process(plan: ExtractionPlan, connection: Connection, log_level: int) -> None:
    """Main function of a device's process; ends when no video is left or when the parent process has gone."""
    # A spawned process starts with the default logging configuration.
    logging.basicConfig(level=log_level, format=f"{plan.estimator.engine.device}: %(levelname)s %(name)s: %(message)s")
    sending, requesting = threading.Lock(), threading.Lock()
    frames = 0

    def send(kind: str, value: Any) -> None:
        with sending:
            connection.send((kind, value))

    def report_frames() -> None:
        nonlocal frames
        send("frames", frames)
        frames = 0

    def on_frame() -> None:
        nonlocal frames
        frames += 1
        if frames == FRAMES_PER_REPORT:
            report_frames()

    def on_video(outcome: Outcome) -> None:
        report_frames()
        send("video", outcome)

    def work() -> Iterator[Work]:
        while True:
            with requesting:
                send("next", None)
                source = connection.recv()
            if source is None:
                return
            yield source

    try:
        run_device(plan, work(), on_video=on_video, on_frame=on_frame)
    except SkelpipeError as error:
        send("error", error)
    except (EOFError, ConnectionError):
        log.info("the parent process has ended")

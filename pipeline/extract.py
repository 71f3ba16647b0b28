"""`skelpipe extract`: which videos are to be done, on which devices, and what is said of it."""

import logging
import multiprocessing
import queue
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.extract_device import Outcome, Plan, is_done, plan_clips, run_device
from pipeline.inputs import Source, survey
from pipeline.labels import load_labels
from pipeline.ledger import ErrorLog
from pipeline.merging import merge, skeleton_files
from pipeline.models import download_progress
from pipeline.progress import RunProgress
from pipeline.settings import ExtractSettings
from pose_extraction import model_zoo
from pose_extraction.backends import Placement
from pose_extraction.detection import Detector
from pose_extraction.errors import SkelpipeError, UsageError
from pose_extraction.estimators import Identity, Request, display_name, identify, is_bottom_up, is_onnx

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Share:
    """Which of the videos this machine does.

    Args:
        shard: (I, N), the I-th of N equal shares, counted from 1; None for all of them, merged at the end.
        limit: At most this many of them; None for no limit.
        overwrite: Does again what is done.
    """

    shard: tuple[int, int] | None = None
    limit: int | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class Report:
    """What a run did.

    Args:
        folder: The skeleton files, `skeletons/<estimator>`.
        data_set: The merged data set; None where none was written.
        done: Videos that were extracted.
        skipped: Videos that were done before.
        failed: Videos that failed, by their path.
        frames_per_second: Frames extracted a second of this run.
    """

    folder: Path
    data_set: Path | None
    done: int
    skipped: int
    failed: dict[str, str]
    frames_per_second: float


def parse_devices(text: str) -> list[str]:
    """`cuda:0,1` -> ["cuda:0", "cuda:1"]; everything else is one device or a list of whole names."""
    names: list[str] = []
    for part in text.split(","):
        part = part.strip()
        names.append(f"cuda:{part}" if part.isdecimal() and names and names[0].startswith("cuda") else part)
    if not all(names):
        raise UsageError(f"device {text!r}: give auto, cpu, cuda:0, or several as cuda:0,1")
    return names


def parse_shard(text: str) -> tuple[int, int]:
    """`2/8` -> (2, 8).

    Raises:
        UsageError: It is not I/N with 1 <= I <= N.
    """
    first, _, last = text.partition("/")
    if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise UsageError(f"shard {text!r}: give I/N with I from 1 to N, for example 2/8")
    return int(first), int(last)


def extract(
    videos: Sequence[str | Path],
    out: Path = Path("skeletons"),
    *,
    settings: ExtractSettings | None = None,
    labels: str = "auto",
    share: Share | None = None,
    console: Console | None = None,
    detector: Detector | None = None,
) -> Report:
    """Extracts tracked, cleaned COCO-17 skeletons from videos.

    Args:
        videos: Files, folders and patterns.
        out: Folder of results: `out/<estimator>/<clip>.pkl`, and `out/<estimator>.pkl` with all of them.
        settings: See `ExtractSettings`.
        labels: "auto", "none", or the path of a CSV file.
        share: Which of the videos are done here.
        console: Where progress is shown; standard error if None.
        detector: Finds the persons in place of the one named in `settings`.

    Raises:
        UsageError: Nothing to do, or what was asked for contradicts itself.
        SkelpipeError: A network cannot be loaded, or the data set cannot be written.
    """
    settings, share = settings or ExtractSettings(), share or Share()
    console = console or Console(stderr=True)
    inputs = survey(videos)
    for folder, reason in inputs.unreadable:
        console.print(f"{folder}: cannot be listed ({reason})", style="red", highlight=False, markup=False)
    if not inputs.sources and not inputs.unreadable:
        raise UsageError(f"no videos in {', '.join(map(str, videos))}; name files, folders or patterns that hold some")
    known = load_labels(labels, inputs.sources)
    for warning in known.warnings:
        console.print(f"warning: {warning}", style="yellow", highlight=False, markup=False)

    devices = parse_devices(settings.device)
    estimator, detector_identity = _identities(settings, devices[0], detector, console)
    folder = out / display_name(settings.estimator)
    plan = Plan(settings, estimator, detector_identity, folder, plan_clips(inputs.sources, known))

    chosen = inputs.sources
    if share.shard is not None:
        # By place in the sorted list: every machine that sees the same folder splits it alike.
        chosen = sorted(chosen, key=lambda source: source.frame_dir)[share.shard[0] - 1 :: share.shard[1]]
    errors = ErrorLog(folder / _error_file(share.shard))
    failed = {str(place): reason for place, reason in inputs.unreadable}
    for place, reason in failed.items():
        errors.add(place, reason)
    work, skipped = _open_work(plan, chosen, share, errors, failed, console)

    rate = 0.0
    if work:
        rate = _run(plan, work, devices, errors, failed, console, detector)
    errors.settle({source.relative for source in chosen})
    data_set = None
    if share.shard is None and skeleton_files_exist(folder):
        merged = merge([folder])
        data_set = merged.path
        for path, reason in merged.damaged:
            failed[str(path)] = reason
            console.print(reason, style="red", highlight=False, markup=False)
    tried = {source.relative for source, _ in work}
    done = len(work) - len(tried & failed.keys())
    return Report(folder, data_set, done, skipped, failed, rate)


def skeleton_files_exist(folder: Path) -> bool:
    """Whether a folder holds anything to merge."""
    try:
        return bool(skeleton_files(folder))
    except UsageError:
        return False


def _error_file(shard: tuple[int, int] | None) -> str:
    return "errors.jsonl" if shard is None else f"errors.{shard[0]}-of-{shard[1]}.jsonl"


def _identities(
    settings: ExtractSettings, device: str, detector: Detector | None, console: Console
) -> tuple[Identity, Identity | None]:
    def find(kind: str, name: str, checkpoint: str | None) -> Identity:
        request = Request(device=device, backend=settings.backend, precision=settings.precision)
        if is_onnx(name):
            if settings.backend == "torch":
                request = replace(request, backend="auto")
            return identify(kind, name, checkpoint=checkpoint, request=request)
        if settings.backend == "onnxruntime":
            request = replace(request, backend="auto")
        with download_progress(model_zoo.lookup(name, kind), console) as progress:
            return identify(kind, name, checkpoint=checkpoint, request=replace(request, progress=progress))

    estimator = find("estimator", settings.estimator, settings.checkpoint)
    if is_bottom_up(settings.estimator):
        return estimator, None
    if detector is not None:
        own = Identity(type(detector).__name__, "detector", "own", Placement("cpu", "torch", "fp32"), None, None, 0)
        return estimator, own
    return estimator, find("detector", settings.detector, settings.detector_checkpoint)


def _open_work(
    plan: Plan,
    chosen: Sequence[Source],
    share: Share,
    errors: ErrorLog,
    failed: dict[str, str],
    console: Console,
) -> tuple[list[tuple[Source, str]], int]:
    """The videos still to be done, with their digests, and how many are done already."""
    work: list[tuple[Source, str]] = []
    skipped = 0
    for source in chosen:
        if share.limit is not None and len(work) + skipped >= share.limit:
            break
        try:
            digest = plan.digest_of(source)
            if not share.overwrite and is_done(plan, source, digest):
                skipped += 1
                continue
        except OSError as error:
            cause = (
                f"{source.path}: cannot be read ({error.strerror or error}); check that it exists and its permissions"
            )
            _tell_failure(source, cause, errors, failed, console)
            continue
        work.append((source, digest))
    if skipped:
        console.print(f"{skipped} of {len(chosen)} videos were done before", highlight=False)
    return work, skipped


def _tell_failure(source: Source, cause: str, errors: ErrorLog, failed: dict[str, str], console: Console) -> None:
    failed[source.relative] = cause
    console.print(f"failed: {cause}", style="red", highlight=False, markup=False, soft_wrap=True)
    try:
        errors.add(source.relative, cause)
    except OSError as error:
        # A full disk must not end the run: the others may need less room.
        console.print(
            f"{errors.path}: cannot be written ({error.strerror})", style="red", highlight=False, markup=False
        )


def _run(
    plan: Plan,
    work: Sequence[tuple[Source, str]],
    devices: Sequence[str],
    errors: ErrorLog,
    failed: dict[str, str],
    console: Console,
    detector: Detector | None,
) -> float:
    with RunProgress(len(work), console) as progress:

        def on_video(outcome: Outcome) -> None:
            if outcome.error is not None:
                _tell_failure(outcome.source, outcome.error, errors, failed, console)
            elif outcome.problems:
                progress.say(f"note: {outcome.source.relative}: {'; '.join(outcome.problems)}", style="yellow")
            progress.video()

        if len(devices) == 1:
            run_device(plan, work, on_video=on_video, on_frame=progress.frame, detector=detector)
        else:
            _run_devices(plan, work, devices, on_video, progress.frame)
        return progress.rate()


def _run_devices(
    plan: Plan,
    work: Sequence[tuple[Source, str]],
    devices: Sequence[str],
    on_video: Callable[[Outcome], None],
    on_frame: Callable[[], None],
) -> None:
    """One process a device; each takes the next video when it is free."""
    context = multiprocessing.get_context("spawn")
    supply: Any = context.Queue()
    for item in work:
        supply.put(item)
    for _ in devices:
        supply.put(None)
    results: Any = context.Queue()
    processes = [
        context.Process(target=_device_process, args=(_on_device(plan, device), supply, results), daemon=True)
        for device in devices
    ]
    for process in processes:
        process.start()
    open_videos = {source.relative: source for source, _ in work}
    running = len(processes)
    try:
        while running:
            try:
                kind, value = results.get(timeout=1.0)
            except queue.Empty:
                crashed = [process for process in processes if process.exitcode not in (None, 0)]
                if len(crashed) == len(processes) or (crashed and all(p.exitcode is not None for p in processes)):
                    break
                continue
            if kind == "frames":
                for _ in range(value):
                    on_frame()
            elif kind == "video":
                open_videos.pop(value.source.relative, None)
                on_video(value)
            elif kind == "error":
                raise value
            else:
                running -= 1
    finally:
        for process in processes:
            if process.is_alive() and running:
                process.terminate()
            process.join()
    for source in open_videos.values():
        codes = ", ".join(str(process.exitcode) for process in processes)
        on_video(
            Outcome(source, error=f"{source.path}: the process of its device ended (exit codes {codes}); run again")
        )


def _on_device(plan: Plan, device: str) -> Plan:
    def moved(identity: Identity) -> Identity:
        return replace(identity, placement=replace(identity.placement, device=device))

    return replace(plan, estimator=moved(plan.estimator), detector=moved(plan.detector) if plan.detector else None)


def _device_process(plan: Plan, supply: Any, results: Any) -> None:
    frames = 0

    def on_frame() -> None:
        nonlocal frames
        frames += 1
        if frames == 64:
            results.put(("frames", frames))
            frames = 0

    def work() -> Iterator[tuple[Source, str]]:
        while (item := supply.get()) is not None:
            yield item

    try:
        run_device(plan, work(), on_video=lambda outcome: results.put(("video", outcome)), on_frame=on_frame)
        results.put(("frames", frames))
        results.put(("end", None))
    except SkelpipeError as error:
        results.put(("error", error))

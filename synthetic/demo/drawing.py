"""Renders the demonstration's clips to disk, with one process per CPU core."""

import csv
import io
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
from rich.console import Console

from pipeline.reporting.progress import RunProgress
from pose_extraction.engines.devices import cpu_count
from pose_extraction.files import atomic_write
from pose_extraction.formats.annotations import data_set
from pose_extraction.formats.pickle_writing import write_pickle
from synthetic.demo.plan import CLIPS, NEW_CLIP, DemoPlan, Order, orders, two_people
from synthetic.rendering.clips import TRUTH, Clip, write_clip, write_clips

LABELS_NAME = "labels.csv"
# Starting more processes takes longer than they save.
MOST_PROCESSES = 8


def draw_clips(plan: DemoPlan, folder: Path, console: Console) -> bool:
    """Render the labelled clips, their ground truth and their table of labels, unless they exist.

    Args:
        plan: DemoPlan of the clips.
        folder: Output folder; empty, or with clips of this plan.
        console: Console for progress.

    Returns:
        Whether anything was rendered.

    Raises:
        VideoError, AnnotationError, OSError: A file cannot be written.
    """
    truth_file = folder / CLIPS / f"{TRUTH}.pkl"
    wanted = list(orders(plan))
    # The ground truth is written after all clips.
    if truth_file.is_file() and all((folder / CLIPS / f"{one.identifier}.mp4").is_file() for one in wanted):
        return False
    annotations: list[dict[str, Any]] = []
    with _processes() as pool, RunProgress(len(wanted), console) as shown:
        parts = [(one, plan, folder / CLIPS) for one in wanted]
        for annotation in pool.map(_draw, parts, chunksize=4):
            annotations.append(annotation)
            for _ in range(annotation["total_frames"]):
                shown.frame()
            shown.video()
    _write_labels(wanted, folder / CLIPS / LABELS_NAME)
    split: dict[str, list[str]] = {}
    for one in wanted:
        split.setdefault(one.family, []).append(one.identifier)
    write_pickle(truth_file, data_set(annotations, split))
    return True


def draw_new_clip(plan: DemoPlan, folder: Path) -> Path:
    """Render the clip of two people with its ground truth, unless it exists; return its path."""
    video, truth_file = folder / f"{NEW_CLIP}.mp4", folder / f"{TRUTH}.pkl"
    if not (video.is_file() and truth_file.is_file()):
        write_clips([Clip(NEW_CLIP, two_people(plan))], folder)
    return video


def _write_labels(wanted: list[Order], path: Path) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "label", "split"])
    writer.writerows([f"{one.identifier}.mp4", one.action, one.family] for one in wanted)
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


@contextmanager
def _processes() -> Iterator[ProcessPoolExecutor]:
    """Start rendering processes; on an error or interruption, cancel the clips that are not started yet."""
    pool = ProcessPoolExecutor(
        min(cpu_count(), MOST_PROCESSES),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
    )
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    # One thread per process. The main process handles interruptions.
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Exit when the main process ends for any reason, as nothing would receive further clips."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _draw(part: tuple[Order, DemoPlan, Path]) -> dict[str, Any]:
    order, plan, folder = part
    return write_clip(Clip(order.identifier, order.scene(plan), order.family), folder)

"""The tasks of an extraction: videos, or pieces of them, with their sizes."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cluster.process import folder_of_relative
from pipeline.cluster.schedule import Task
from pipeline.inputs.videos import Source

if TYPE_CHECKING:
    from pipeline.extract.pieces import Work
    from pipeline.extract.plan import ExtractionPlan


def tasks_of(work: "Iterable[Work]", sizes: Mapping[Source, int]) -> list[Task]:
    """Returns the tasks of a run.

    Args:
        work: The videos, or pieces of them.
        sizes: The size of each video.
    """
    from pipeline.extract.pieces import Piece, name_of_work

    tasks = []
    for one in work:
        count = one.count if isinstance(one, Piece) else 1
        tasks.append(Task(one, name_of_work(one), sizes[source_of(one)] / count))
    return tasks


def source_of(work: "Work") -> Source:
    """Returns the video of a task."""
    return work if isinstance(work, Source) else work.source


def sizes_of(work: Sequence[Source]) -> dict[Source, int]:
    """Returns the size of each video in bytes, at least 1; for a folder of images, that of all its files."""
    return {source: max(1, _size(source)) for source in work}


def working_folder(plan: "ExtractionPlan", tasks: Iterable[Task]) -> str | None:
    """Returns the working directory if paths of the run refer to it, else None."""
    settings = plan.settings
    names = (settings.estimator, settings.detector, settings.checkpoint, settings.detector_checkpoint)
    networks = [Path(name) for name in names if name is not None and Path(name).exists()]
    return folder_of_relative([plan.folder, *networks, *(source_of(task.work).path for task in tasks)])


def _size(source: Source) -> int:
    if source.remote is not None:
        return source.remote.size
    path = source.path
    try:
        if path.is_dir():
            return sum(file.stat().st_size for file in path.iterdir())
        return path.stat().st_size
    except OSError:
        # The actor reports the reason.
        return 1

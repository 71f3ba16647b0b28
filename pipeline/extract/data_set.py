"""The data set of an extraction: all skeleton files of its folder, merged when the videos are done."""

import shutil
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING

from pipeline.datasets.merging import KINDS, PARQUET, merge, merged_path
from pipeline.extract.messages import Failures
from pose_extraction.errors import AnnotationError, UsageError
from pose_extraction.formats.shards.arrow import arrow

if TYPE_CHECKING:
    from pipeline.extract.results.finished import FinishedLog

# Seconds after which a merge that is still running is announced.
MERGE_NOTICE = 3.0
# Number of skeleton files from which on they are merged into shards, as one file of them takes gigabytes to read.
SHARDS_FROM = 20_000


def records_in(folder: Path) -> list[Path]:
    """Files in an output folder that describe the run."""
    return [*folder.glob("*.jsonl"), *folder.glob("summary*.json"), *folder.glob("summary*.html")]


def data_sets_of(folder: Path) -> list[Path]:
    return [merged_path(folder, kind) for kind in KINDS]


def merge_results(folder: Path, finished: "FinishedLog", failures: Failures) -> Path | None:
    """Writes the data set of all clips in the folder; None if there is no clip, or if writing fails.

    Args:
        folder: Folder of the skeleton files.
        finished: Forgets files that turn out to be damaged, so that the next run extracts their videos again.
        failures: Takes damaged files and messages.
    """
    if not any(folder.rglob("*.pkl")):
        if failures.withdrawn:
            # All its clips have just been removed.
            merged_path(folder).unlink(missing_ok=True)
            shutil.rmtree(merged_path(folder, PARQUET), ignore_errors=True)
        return None
    path = _path_of_data_set(folder, failures)
    # Reading tens of thousands of files takes minutes; a few files need no message.
    notice = Timer(MERGE_NOTICE, failures.say, [f"merging the skeleton files in {folder}", None])
    notice.daemon = True
    notice.start()
    try:
        merged = merge([folder], path)
    except OSError as error:
        failures.add(
            str(path), f"{path}: cannot write the file ({error.strerror or error}); run `skelpipe merge {folder}`"
        )
        return None
    except AnnotationError:
        # None of the files can be read.
        finished.clear()
        raise
    finally:
        notice.cancel()
    for note in merged.notes:
        failures.say(note, "yellow")
    for path, reason in merged.damaged:
        if path.is_relative_to(folder):
            finished.forget(path.relative_to(folder).as_posix().removesuffix(".pkl"))
        # An absolute path, so that the name does not depend on the working directory.
        failures.add(str(path.absolute()), reason)
    return merged.path


def _path_of_data_set(folder: Path, failures: Failures) -> Path:
    """Path of the data set of a folder: shards if there are many clips, or if it is in shards already."""
    shards = merged_path(folder, PARQUET)
    files = sum(1 for _ in folder.rglob("*.pkl"))
    if files < SHARDS_FROM and not shards.is_dir():
        return merged_path(folder)
    try:
        arrow()
    except UsageError as error:
        failures.say(f"the clips ({files}) are merged into one file: {error}", None)
        return merged_path(folder)
    return shards

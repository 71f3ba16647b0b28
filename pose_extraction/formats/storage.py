"""Data sets in one file or in shards: writing, and reading clip by clip."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pose_extraction.files import held
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.formats.shards.manifest import SUFFIX, is_shards
from pose_extraction.formats.shards.shard_set import open_shards
from pose_extraction.formats.shards.update import write_shards
from pose_extraction.formats.validation import read_data_set


def write_data_set(path: Path, data: Mapping[str, Any]) -> None:
    """Write a validated data set: to shards if the path ends in `.parquet`, else to a skeleton file.

    Raises:
        AnnotationError: It contains something other than arrays and plain data.
        UsageError: pyarrow is not installed.
    """
    if path.suffix == SUFFIX:
        with held(path):
            write_shards(path, data)
    else:
        write_pickle(path, data)


def stream_data_set(path: Path) -> tuple[Iterator[dict[str, Any]], dict[str, list[str]]]:
    """Read a data set clip by clip. Those of shards are read on demand, so that memory does not depend on their number.

    Args:
        path: Skeleton file, or folder of a data set in shards.

    Returns:
        The annotations, and the ids of the clips in each split.

    Raises:
        AnnotationError: The data set is damaged, contains code or is not a skeleton data set.
    """
    if is_shards(path):
        shards = open_shards(path)
        split = {name: [shards.names[index] for index in indices] for name, indices in shards.splits.items()}
        return shards.annotations(), split
    data = read_data_set(path)
    return iter(data["annotations"]), data["split"]


def annotation_reader(path: Path) -> Callable[[str], dict[str, Any]]:
    """Return a function that returns the annotation of a clip by its id; arguments as `stream_data_set`."""
    if is_shards(path):
        shards = open_shards(path)
        numbers = {name: index for index, name in enumerate(shards.names)}
        return lambda name: shards.annotation(numbers[name])
    data = read_data_set(path)
    stored = {clip["frame_dir"] if "frame_dir" in clip else clip["filename"]: clip for clip in data["annotations"]}
    return stored.__getitem__

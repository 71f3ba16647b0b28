"""What every actor does when its process starts, and how it recognises the storage of the driver."""

import logging
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from pose_extraction.engines.devices import limit_cpus
from pose_extraction.engines.threads import wait_asleep
from pose_extraction.errors import SkelpipeError
from pose_extraction.remote import exists, is_url

# Seconds for which a file that another machine has just written may stay invisible on network storage.
SHARED_STORAGE_SECONDS = 5.0


def begin_process(cpus: int, log_level: int) -> None:
    """Sets threads and log of an actor; must come before the numeric libraries are loaded.

    Args:
        cpus: Number of cores; each network gets that many threads.
        log_level: Level of the log.
    """
    os.environ["OMP_NUM_THREADS"] = str(cpus)
    wait_asleep()
    limit_cpus(cpus)
    logging.basicConfig(level=log_level, format="%(levelname)s %(name)s: %(message)s")


def enter_folder(node: str, folder: str | None, marker: str) -> None:
    """Checks that an actor sees the files of the driver.

    Args:
        node: Name of this machine, for messages.
        folder: Working directory of the driver, which relative paths refer to; None without such paths.
        marker: Path or URL of a file in the output folder that the driver has created.

    Raises:
        SkelpipeError: This machine lacks one of them.
    """
    if folder is not None:
        try:
            os.chdir(folder)
        except OSError as error:
            raise SkelpipeError(
                f"{node}: cannot use the folder {folder}, which the paths refer to ({error.strerror}); give absolute "
                "paths on storage that all nodes share"
            ) from error
    until = monotonic() + SHARED_STORAGE_SECONDS
    while not (exists(marker) if is_url(marker) else Path(marker).exists()):
        if monotonic() > until:
            folder = marker.rpartition("/")[0]
            raise SkelpipeError(
                f"{node}: does not see the output folder {folder} of the driver; give a folder on storage that all "
                "nodes share with --out"
            )
        sleep(0.1)


def folder_of_relative(paths: Iterable[Path]) -> str | None:
    """Returns the working directory if one of the paths refers to it, else None."""
    return None if all(path.is_absolute() for path in paths) else str(Path.cwd())


@contextmanager
def marked(folder: Path, *, alone: bool = True) -> Iterator[Path]:
    """Creates a file by which actors recognise the output folder, for the duration of a block.

    Args:
        folder: The output folder.
        alone: Whether no other run writes to it now, so that files of killed drivers can be removed.
    """
    if alone:
        for old in folder.glob(".ray-*"):
            old.unlink(missing_ok=True)
    marker = folder / f".ray-{secrets.token_hex(8)}"
    marker.touch()
    try:
        yield marker
    finally:
        marker.unlink(missing_ok=True)

"""Videos that are named on the command line of the service become jobs when it starts."""

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path

from pipeline.serve.folders import display_name
from pipeline.serve.service import Service
from pipeline.serve.settings import JobSettings

# Length of the windows in seconds: as for videos that are dropped on the page.
WINDOWS = 3.0


async def submit_given(service: Service, videos: Sequence[Path]) -> None:
    """Queue videos, except those that an earlier start with the same data folder has queued.

    Args:
        service: The running service.
        videos: Their paths, below the allowed folders.
    """
    for path in videos:
        key = await asyncio.to_thread(_key_of, path)
        if await asyncio.to_thread(service.store.by_key, key) is not None:
            continue
        job, _ = await asyncio.to_thread(service.folders.begin)
        name, settings = display_name(path.name), JobSettings(windows=WINDOWS)
        await service.submit(job, name, settings, str(path), size=None, key=key, request=key)


def _key_of(path: Path) -> str:
    """Return a key that changes with the file."""
    state = path.stat()
    return "given-" + hashlib.sha256(f"{path} {state.st_size} {state.st_mtime_ns}".encode()).hexdigest()

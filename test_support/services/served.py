"""The application of the service in a thread of the tests, behind a real socket; it has no workers unless asked."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.serve.server import listen, make_server
from pipeline.serve.service import Service
from pipeline.serve.settings import ServeSettings
from recognition.packed import EVERYDAY, shipped


def settings_for(folder: Path, **changes: Any) -> ServeSettings:
    """Return the settings of a service without workers, with the recognizer of the package.

    Args:
        folder: Its data folder.
        changes: Other settings.
    """
    run = shipped(EVERYDAY)
    assert run is not None
    return replace(ServeSettings((run,), folder, devices=(), least_free=0), **changes)


@contextmanager
def served(settings: ServeSettings) -> Iterator[tuple[tuple[str, int], Service]]:
    """Serve until the block ends; yield host and port, and the service.

    Args:
        settings: Settings of the service.
    """
    opened = listen("127.0.0.1", 0)
    server = make_server(settings)
    thread = threading.Thread(target=server.run, args=([opened],))
    thread.start()
    try:
        yield opened.getsockname(), server.service
    finally:
        server.should_exit = True
        thread.join()

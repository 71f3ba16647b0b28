"""Requests that a worker answers besides its job: facts about runs."""

import queue
from collections.abc import Callable
from typing import Any

from pipeline.serve.messages import Describe, PredictSkeletons, RunFacts
from pipeline.serve.work.networks import NetworkCache
from pose_extraction.engines.engine import Engine
from pose_extraction.errors import SkelpipeError


def answer_requests(
    waiting: "queue.Queue[Describe | PredictSkeletons]",
    cache: NetworkCache,
    engine: Engine,
    send: Callable[[Any], None],
) -> None:
    """Answer requests as they arrive; the target of a thread.

    Args:
        waiting: The requests.
        cache: The runs.
        engine: Device, backend, precision and batch size.
        send: Sends an answer to the service.
    """
    while True:
        request = waiting.get()
        if isinstance(request, Describe):
            send(_facts(request, cache))


def _facts(request: Describe, cache: NetworkCache) -> RunFacts:
    try:
        trained = cache.run(request.run)
    except (SkelpipeError, OSError) as error:
        return RunFacts(request.run, error=str(error))
    backbone = getattr(trained.settings.model, "backbone", "")
    return RunFacts(request.run, trained.label_names, str(backbone), trained.confidence.threshold is not None)

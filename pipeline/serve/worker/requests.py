"""Requests that a worker answers besides its job: skeletons in shared batches, and facts about runs.

While a batch is computed, further requests arrive; all of them share the next batch. So no request waits for others,
and the batches are as large as the load requires.
"""

import logging
import queue
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.predict.answers import BEST, Answer, as_dictionary, label_of
from pipeline.predict.options import PredictOptions, Scope
from pipeline.predict.skeleton_files import predictor_for
from pipeline.predict.whole_clip import too_few
from pipeline.predict.workflow import check_options
from pipeline.serve.messages import Answering, Describe, Predicted, PredictSkeletons, RunFacts
from pipeline.serve.worker.networks import NetworkCache
from pose_extraction.engines.engine import Engine
from pose_extraction.errors import SkelpipeError
from recognition.data.clip import Clip
from recognition.data.clips import ClipSet
from recognition.data.splits import left_out_of
from recognition.inference.clip_predictor import ClipPredictor, frames_seen
from recognition.inference.exported_run import ExportedRun
from recognition.inference.skeleton_clips import clips_for

log = logging.getLogger(__name__)

# Requests in one batch.
MOST_SHARED = 64
# Combinations of a run and a joint layout that stay prepared.
MOST_PREDICTORS = 4

Request = Describe | PredictSkeletons


@dataclass
class _Open:
    """A request whose file has been read.

    Args:
        request: The request.
        clips: Its file.
        predictor: The network.
        usable: Clips that can be classified, by their index in the file.
        found: Their predictions.
    """

    request: PredictSkeletons
    clips: ClipSet
    predictor: ClipPredictor
    usable: dict[int, Clip]
    found: dict[int, Answer]


def answer_requests(
    waiting: "queue.Queue[Request]", cache: NetworkCache, engine: Engine, send: Callable[[Any], None]
) -> None:
    """Answer requests as they arrive; the target of a thread.

    Args:
        waiting: The requests.
        cache: The runs.
        engine: Device, backend, precision and batch size.
        send: Sends an answer to the service.
    """
    shared = _SharedBatches(cache, engine)
    while True:
        requests = [waiting.get()]
        while len(requests) < MOST_SHARED:
            try:
                requests.append(waiting.get_nowait())
            except queue.Empty:
                break
        skeletons = [one for one in requests if isinstance(one, PredictSkeletons)]
        # If the process dies from now on, the service knows what may have caused it.
        send(Answering(tuple(one.request for one in skeletons)))
        for request in requests:
            if isinstance(request, Describe):
                send(_facts(request, cache))
        try:
            answers = shared.answer(skeletons)
        except Exception as error:
            log.exception("skeleton requests failed")
            answers = [Predicted(one.request, error=f"internal error: {error}", internal=True) for one in skeletons]
        for answer in answers:
            send(answer)
        send(Answering(None))


def _facts(request: Describe, cache: NetworkCache) -> RunFacts:
    try:
        trained = cache.run(request.run)
    except (SkelpipeError, OSError) as error:
        return RunFacts(request.run, error=str(error))
    # The folder of an exported recognizer does not say which network is in it.
    model = None if isinstance(trained, ExportedRun) else getattr(trained.settings, "model", None)
    name = str(getattr(model, "backbone", ""))
    return RunFacts(request.run, trained.label_names, name, trained.confidence.threshold is not None)


class _SharedBatches:
    def __init__(self, cache: NetworkCache, engine: Engine) -> None:
        self._cache, self._engine = cache, engine
        self._predictors: dict[tuple[Path, int, str, int], ClipPredictor] = {}

    def answer(self, requests: Sequence[PredictSkeletons]) -> list[Predicted]:
        """Return one answer per request, from as few calls of the networks as possible."""
        answers: list[Predicted] = []
        opened: list[_Open] = []
        for request in requests:
            try:
                opened.append(self._open(request))
            except (SkelpipeError, OSError, ValueError) as error:
                answers.append(Predicted(request.request, error=_without_path(str(error), request.path)))
        for predictor in {id(one.predictor): one.predictor for one in opened}.values():
            together = [one for one in opened if one.predictor is predictor]
            try:
                _classify(predictor, together)
            except SkelpipeError as error:
                answers += [Predicted(one.request.request, error=str(error)) for one in together]
                opened = [one for one in opened if one not in together]
        return answers + [self._answer(one, len(opened)) for one in opened]

    def _open(self, request: PredictSkeletons) -> _Open:
        trained = self._cache.run(request.run)
        options = PredictOptions(Scope(True, False, threshold=request.threshold))
        check_options(trained, options, Console(quiet=True))
        clips = clips_for(trained, request.path, skip_bad=True, cut_persons=False)
        key = (request.run, id(trained), clips.layout.name, clips.dimensions)
        if key not in self._predictors:
            while len(self._predictors) >= MOST_PREDICTORS:
                self._predictors.pop(next(iter(self._predictors)))
            self._predictors[key] = predictor_for(
                trained, self._engine, layout=clips.layout, dimensions=clips.dimensions
            )
        usable = {index: clips[index] for index in range(len(clips))}
        reasons = {index: too_few(frames_seen(clip.score, 0.0)) for index, clip in usable.items()}
        found = {
            index: Answer(clips.names[index], reason=reason) for index, reason in reasons.items() if reason is not None
        }
        usable = {index: clip for index, clip in usable.items() if reasons[index] is None}
        return _Open(request, clips, self._predictors[key], usable, found)

    @staticmethod
    def _answer(one: _Open, shared: int) -> Predicted:
        # The same order as in `predict_skeletons`.
        answers = [one.found[index] for index in range(len(one.clips))]
        answers += [Answer(clip.name, reason=clip.reason) for clip in left_out_of(one.clips, None)]
        plain = [as_dictionary(_without_place(answer, one.request.path)) for answer in answers]
        return Predicted(one.request.request, plain, shared=shared)


def _classify(predictor: ClipPredictor, together: Sequence[_Open]) -> None:
    places = [(one, index) for one in together for index in one.usable]
    if not places:
        return
    results = predictor.classify([one.usable[index] for one, index in places])
    for (one, index), probabilities, unknown in zip(
        places, results.probabilities, results.unknown.tolist(), strict=True
    ):
        rejection = predictor.trained.confidence.rejection(one.request.threshold)
        best = predictor.best(probabilities, BEST)
        label = label_of(best, unknown, rejection)
        name = one.clips.names[index]
        one.found[index] = Answer(name, None, None, None, label, best[0][1], unknown, best)


def _without_place(answer: Answer, path: Path) -> Answer:
    return answer if answer.reason is None else replace(answer, reason=_without_path(answer.reason, path))


def _without_path(text: str, path: Path) -> str:
    """Return a message in which the file of a request is not named by its place."""
    return text.replace(str(path), "the body")

"""POST /v1/skeletons:predict: the answers of the command, in shared batches."""

import io
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from pipeline.predict.answers import as_dictionary
from pipeline.predict.options import PredictOptions, scope_of
from pipeline.predict.workflow import predict
from pose_extraction.engines.engine import Engine
from test_support.networks.trained_run import LABEL_NAMES, made_clip, without_persons, write_data
from test_support.services.running_service import RunningService

pytestmark = [pytest.mark.processor, pytest.mark.slow]

ADDRESS = "/v1/skeletons:predict"


def of_command(path: Path, run: Path) -> list[dict]:
    scope = scope_of(per_person=None, windows=None, overlay=None, explain=False, threshold=None)
    engine = Engine("cpu", "onnxruntime", "fp32")
    answers = predict([path], run, PredictOptions(scope), engine=engine, console=Console(file=io.StringIO()))
    # Clients see no paths of the service.
    found: list[dict] = json.loads(json.dumps([as_dictionary(a) for a in answers]).replace(str(path), "the body"))
    return found


@pytest.fixture(scope="module")
def ready(service: RunningService, walkers: Path) -> RunningService:
    service.finished(service.submit(walkers))
    return service


def test_a_skeleton_file_gets_the_answers_of_the_command(
    ready: RunningService, trained: tuple[Path, Path], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    clips = [made_clip(f"clip{n}", LABEL_NAMES[n % 3], rng, frames=12 + n) for n in range(4)]
    clips[1] = without_persons(clips[1])
    path = write_data(tmp_path / "clips.pkl", clips, {})
    reply = ready.ask("POST", ADDRESS, path.read_bytes())
    assert reply.status == 200 and reply.json()["answers"] == of_command(path, trained[0])
    assert {answer["reason"] is None for answer in reply.json()["answers"]} == {True, False}


def test_requests_that_share_batches_get_the_answers_that_each_gets_alone(
    ready: RunningService, trained: tuple[Path, Path], tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    bodies, expected = [], []
    for number in range(12):
        clip = made_clip("clip0", LABEL_NAMES[number % 3], rng, frames=14)
        path = write_data(tmp_path / f"{number}.pkl", [clip | {"label": -1, "label_name": None}], {})
        expected.append(of_command(path, trained[0]))
        entries = ("keypoint", "keypoint_score", "img_shape", "estimator")
        plain = {name: clip[name] for name in entries}
        bodies.append({"annotations": [json.loads(json.dumps(plain, default=lambda value: value.tolist()))]})
    with ThreadPoolExecutor(12) as pool:
        replies = [reply.json() for reply in pool.map(lambda body: ready.ask("POST", ADDRESS, body), bodies)]
    assert [reply["answers"] for reply in replies] == expected
    assert max(reply["shared"] for reply in replies) > 1


class _Code:
    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize(
    "body, status, message",
    [
        (pickle.dumps({"annotations": [_Code()]}), 422, "was not executed"),
        (b"not a pickle", 422, "the body"),
        (b"", 422, "the body is empty"),
        ({"annotations": []}, 422, "annotations"),
        ({"annotations": [{"keypoint": [[1, 2], [3]]}]}, 422, "annotations[0].keypoint: is not an array"),
        ({"annotations": [{"keypoint": [[1.0]]}]}, 422, "[persons][frames][joints]"),
        ({"annotations": [{"keypoints": []}]}, 422, "unknown entry 'keypoints'"),
        ({"annotations": [{"keypoint": [[[["x", 1]]]]}]}, 422, "is not an array of numbers"),
    ],
)
def test_other_bodies_are_refused_with_the_reason(ready: RunningService, body, status: int, message: str) -> None:
    reply = ready.ask("POST", ADDRESS, body)
    assert reply.status == status and message in reply.json()["error"]["message"]


def test_deeply_nested_json_is_refused(ready: RunningService) -> None:
    reply = ready.ask("POST", ADDRESS, b"[" * 1_000_000, {"Content-Type": "application/json"})
    assert reply.status == 400 and reply.kind == "json"
    assert ready.get("/livez") == {"status": "ok"}

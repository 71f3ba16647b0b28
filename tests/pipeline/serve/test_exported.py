"""A service with an exported recognizer, where torch cannot be imported."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from pipeline.export_model.workflow import export_run
from pipeline.predict.answers import as_dictionary
from pipeline.predict.options import Networks, PredictOptions, scope_of
from pipeline.predict.workflow import predict
from pose_extraction.engines.engine import Engine
from test_support.networks.trained_run import LABEL_NAMES, made_clip, write_data
from test_support.services.running_service import RunningService
from test_support.without_torch import write_start

pytestmark = [pytest.mark.processor, pytest.mark.slow]


@pytest.fixture(scope="module")
def exported(trained: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_run(trained[0], "onnx", tmp_path_factory.mktemp("exported") / "mine")


@pytest.fixture(scope="module")
def own(
    exported: Path, trained: tuple[Path, Path], networks: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningService]:
    """A service without torch."""
    folder = tmp_path_factory.mktemp("service")
    named = ("--run", exported, "--estimator", networks[0], "--detector", networks[1], "--device", "cpu")
    first = write_start(tmp_path_factory.mktemp("start"))
    with RunningService(folder / "data", *named, "--backend", "onnxruntime", first=first) as running:
        yield running


def of_command(path: Path, run: Path, networks: Networks, windows: float | None = None) -> list[dict]:
    scope = scope_of(per_person=None, windows=windows, overlay=None, explain=False, threshold=0)
    answers = predict(
        [path], run, PredictOptions(scope, windows), networks=networks, engine=Engine("cpu", "onnxruntime"),
        console=Console(file=io.StringIO()),
    )  # fmt: skip
    found: list[dict] = json.loads(json.dumps([as_dictionary(answer) for answer in answers]))
    return found


@pytest.mark.parametrize("windows", [None, 1.0])
def test_videos_get_the_answers_of_the_command(
    own: RunningService, exported: Path, walkers: Path, networks: tuple[Path, Path], windows: float | None
) -> None:
    job = own.submit(walkers, "&threshold=0" + ("" if windows is None else f"&windows={windows}"))
    ended = own.finished(job)
    assert ended["state"] == "done", ended
    expected = of_command(walkers, exported, Networks(*map(str, networks)), windows)
    found = own.get(f"/v1/jobs/{job}/result.json")["answers"]
    assert found == expected and found[0]["label"] in LABEL_NAMES


def test_skeletons_get_the_answers_of_the_command(own: RunningService, exported: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clips = [made_clip(f"clip{n}", LABEL_NAMES[n % 3], rng, frames=12 + n) for n in range(4)]
    path = write_data(tmp_path / "clips.pkl", clips, {})
    reply = own.ask("POST", "/v1/skeletons:predict?threshold=0", path.read_bytes())
    assert reply.status == 200, reply.body
    found, expected = reply.json()["answers"], of_command(path, exported, Networks())
    assert [one["label"] for one in found] == [one["label"] for one in expected]
    # Clips of other lengths share a call, so that the last digits differ.
    np.testing.assert_allclose(
        [one["probability"] for one in found], [one["probability"] for one in expected], rtol=0, atol=1e-4
    )


def test_the_run_is_described(own: RunningService, walkers: Path) -> None:
    own.finished(own.submit(walkers))
    (run,) = own.get("/v1/runs")
    assert (run["id"], run["exported"], run["backbone"], run["error"]) == ("mine", True, None, None)
    assert run["classes"] == list(LABEL_NAMES)


def test_what_needs_the_run_is_refused_with_the_reason(own: RunningService, walkers: Path) -> None:
    ended = own.finished(own.submit(walkers, "&explain=true"))
    assert ended["state"] == "failed" and "exported recognizer without attention" in ended["error"]["message"]
    reply = own.ask("POST", "/v1/trainings", {"jobs": "all"})
    assert reply.status == 422 and "pass the run that it was exported from" in reply.json()["error"]["message"]

"""An exported recognizer in a browser: onnxruntime-web in headless Chromium computes what the run computes."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pose_extraction.engines.engine import Engine
from recognition.data.clip import Clip
from recognition.exporting.files import input_names, onnx_of
from recognition.exporting.graph import ClipsToActions
from recognition.inference.arrays import arrays_of
from recognition.inference.exported import INPUTS
from recognition.inference.predictor import Predictor
from test_support.doc_pages import blocks, page
from test_support.networks.exportable_runs import CUSTOM, DSTFORMER, made_clips, made_trained
from test_support.services.browser import REQUIRED, opened
from test_support.services.browser_runtime import RuntimeMissingError, browser_runtime

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Route

pytestmark = pytest.mark.slow

KINDS = {".mjs": "text/javascript", ".wasm": "application/wasm", ".onnx": "application/octet-stream"}
PAGE = """<!doctype html><title>model</title>
<script type="importmap">{"imports": {"onnxruntime-web": "/ort.wasm.min.mjs"}}</script>
<script type="module">%s
window.classify = classify;</script>"""
CLASSIFY = """async (clip) => {
  while (!window.classify) await new Promise((done) => setTimeout(done, 50));
  return await window.classify(clip);
}"""


def feeds_of(clip: Clip, names: list[str]) -> dict[str, list[list[float]]]:
    """Return shape and numbers of each input."""
    given = dict(zip(INPUTS, arrays_of([clip]), strict=True))
    return {name: [list(given[name].shape), given[name].ravel().tolist()] for name in names}


def runtime_or_skip() -> Path:
    """Return the folder of the runtime; without it, skip the test, or fail it where a browser is required."""
    try:
        return browser_runtime()
    except RuntimeMissingError as error:
        if os.environ.get(REQUIRED) == "1":
            pytest.fail(f"{REQUIRED}=1, but {error}")
        pytest.skip(str(error))


@pytest.mark.parametrize(("value", "outcome"), [("1", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_without_npm_a_required_browser_is_a_failure(
    value: str, outcome: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SKELPIPE_CACHE", str(tmp_path))
    monkeypatch.setenv(REQUIRED, value)
    with pytest.raises(outcome, match="npm is not installed"):
        runtime_or_skip()


def test_the_example_of_the_documentation_computes_the_probabilities_of_the_run(browser: "Browser") -> None:
    folder = runtime_or_skip()
    trained = made_trained(CUSTOM, DSTFORMER)
    content = onnx_of(ClipsToActions(trained))
    types = {name: array.dtype.name for name, array in zip(INPUTS, arrays_of(made_clips(1)), strict=True)}
    names = input_names(content)
    labels = {"labels": list(trained.label_names), "inputs": [{"name": name, "type": types[name]} for name in names]}
    clips = made_clips(8)
    expected = Predictor(trained, Engine("cpu", "torch", "fp32")).classify(clips)
    (example,) = blocks(page("exporting_models.md"), "js")

    def send(route: "Route") -> None:
        name = Path(route.request.url).name
        if not name or "localhost" in name:
            route.fulfill(body=PAGE % example, content_type="text/html")
        elif name == "labels.json":
            route.fulfill(body=json.dumps(labels), content_type="application/json")
        elif name == "model.onnx":
            route.fulfill(body=content, content_type=KINDS[".onnx"])
        elif (folder / name).is_file():
            route.fulfill(body=(folder / name).read_bytes(), content_type=KINDS[Path(name).suffix])
        else:
            route.fulfill(status=404)

    with opened(browser) as opened_page:
        opened_page.route("**/*", send)
        opened_page.goto("http://localhost/")
        found = [opened_page.evaluate(CLASSIFY, feeds_of(clip, names)) for clip in clips]
    assert found[0]["labels"] == list(trained.label_names)
    np.testing.assert_allclose([one["probabilities"] for one in found], expected.probabilities, atol=1e-4)
    np.testing.assert_allclose([one["unknown"] for one in found], expected.unknown, rtol=1e-3, atol=1e-3)

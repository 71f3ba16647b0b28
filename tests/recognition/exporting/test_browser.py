"""An exported recognizer in a browser: onnxruntime-web in headless Chromium computes what the run computes."""

import base64
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
from test_support.networks.exportable_runs import CUSTOM, DSTFORMER, made_clips, made_trained
from test_support.services.browser import REQUIRED, opened
from test_support.services.browser_runtime import RuntimeMissingError, browser_runtime

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Route

pytestmark = pytest.mark.slow

KINDS = {".mjs": "text/javascript", ".wasm": "application/wasm", ".onnx": "application/octet-stream"}
# Creates the session, and runs it on each clip; values arrive as base64 of their bytes.
RUN = """async (clips) => {
  const ort = await import('/ort.wasm.min.mjs');
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = '/';
  const session = await ort.InferenceSession.create('/model.onnx', {executionProviders: ['wasm']});
  const kinds = {float32: Float32Array, float64: Float64Array, int32: Int32Array, bool: Uint8Array};
  const results = [];
  for (const clip of clips) {
    const feeds = {};
    for (const [name, one] of Object.entries(clip)) {
      const bytes = Uint8Array.from(atob(one.data), (letter) => letter.charCodeAt(0));
      feeds[name] = new ort.Tensor(one.type, new kinds[one.type](bytes.buffer), one.shape);
    }
    const found = await session.run(feeds);
    results.push([...found.probabilities.data, ...found.unknown.data]);
  }
  return results;
}"""


def feeds_of(clip: Clip, names: list[str]) -> dict[str, dict[str, object]]:
    given = dict(zip(INPUTS, arrays_of([clip]), strict=True))
    return {
        name: {
            "type": given[name].dtype.name,
            "shape": list(given[name].shape),
            "data": base64.b64encode(np.ascontiguousarray(given[name]).tobytes()).decode(),
        }
        for name in names
    }


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


def test_browser_computes_the_probabilities_of_the_run(browser: "Browser") -> None:
    folder = runtime_or_skip()
    trained = made_trained(CUSTOM, DSTFORMER)
    content = onnx_of(ClipsToActions(trained))
    clips = made_clips(8)
    expected = Predictor(trained, Engine("cpu", "torch", "fp32")).classify(clips)

    def send(route: "Route") -> None:
        name = Path(route.request.url).name
        if not name or "localhost" in name:
            route.fulfill(body="<!doctype html><title>model</title>", content_type="text/html")
        elif name == "model.onnx":
            route.fulfill(body=content, content_type=KINDS[".onnx"])
        elif (folder / name).is_file():
            route.fulfill(body=(folder / name).read_bytes(), content_type=KINDS[Path(name).suffix])
        else:
            route.fulfill(status=404)

    with opened(browser) as page:
        page.route("**/*", send)
        page.goto("http://localhost/")
        found = np.array(page.evaluate(RUN, [feeds_of(clip, input_names(content)) for clip in clips]))
    np.testing.assert_allclose(found[:, :-1], expected.probabilities, atol=1e-4)
    np.testing.assert_allclose(found[:, -1], expected.unknown, rtol=1e-3, atol=1e-3)

"""Files of exported recognizers, run by ONNX Runtime, OpenVINO and torch, equal the run's own predictions."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.export_model.workflow import ROUNDING, TOLERANCE
from pose_extraction.engines.engine import Engine
from pose_extraction.errors import UsageError
from recognition.data.clip import Clip
from recognition.data.clips import open_clips
from recognition.exporting.files import input_names, onnx_of, torchscript_of, write_openvino
from recognition.exporting.graph import ClipsToActions, check_exportable
from recognition.inference.arrays import arrays_of
from recognition.inference.exported import INPUTS
from recognition.inference.predictor import Predictor
from recognition.runs import load_run
from recognition.settings import DataSettings
from test_support.networks.exportable_runs import CUSTOM, DSTFORMER, RUNS, clips_for, made_clips, made_trained

pytestmark = pytest.mark.slow

Run = Callable[[list[Clip]], list[np.ndarray]]


def onnx_session(content: bytes) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = input_names(content)

    def run(clips: list[Clip]) -> list[np.ndarray]:
        given = dict(zip(INPUTS, arrays_of(clips), strict=True))
        return session.run(None, {name: given[name] for name in names})

    return run


def openvino_network(content: bytes, folder: Path) -> Run:
    import openvino

    write_openvino(content, folder / "model.xml")
    network = openvino.Core().compile_model(folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    names = input_names(content)

    def run(clips: list[Clip]) -> list[np.ndarray]:
        given = dict(zip(INPUTS, arrays_of(clips), strict=True))
        given["time"] = given["time"] - given["time"][:, :1]
        return [np.array(value) for value in network([given[name] for name in names]).values()]

    return run


def assert_same(
    run: Run, trained: object, clips: list[Clip], *, tolerance: float = 1e-4, unknown_share: float = 1e-3
) -> None:
    """Compare with the run: probabilities up to `tolerance`, unknown scores up to a share of their value."""
    expected = Predictor(trained, Engine("cpu", "torch", "fp32")).classify(clips)
    probabilities, unknown = run(clips)
    np.testing.assert_allclose(probabilities, expected.probabilities, atol=tolerance)
    np.testing.assert_allclose(unknown, expected.unknown, rtol=unknown_share, atol=10 * tolerance)
    alone = np.concatenate([run([clip])[0] for clip in clips])
    np.testing.assert_allclose(alone, expected.probabilities, atol=tolerance)


@pytest.mark.parametrize("name", RUNS)
def test_onnx_file_fits_clips_of_any_persons_frames_and_rates(name: str) -> None:
    data, model, form = RUNS[name]
    trained = made_trained(data, model, **form)
    assert_same(onnx_session(onnx_of(ClipsToActions(trained))), trained, clips_for(name, 13))


def test_torchscript_needs_none_of_our_code(tmp_path: Path) -> None:
    trained = made_trained(CUSTOM, DSTFORMER)
    (tmp_path / "model.pt").write_bytes(torchscript_of(ClipsToActions(trained)))
    network = torch.jit.load(tmp_path / "model.pt")

    def run(clips: list[Clip]) -> list[np.ndarray]:
        with torch.inference_mode():
            return [value.numpy() for value in network(*map(torch.from_numpy, arrays_of(clips)))]

    assert_same(run, trained, made_clips(13))


@pytest.mark.parametrize("name", ["custom", "own, linear"])
def test_openvino_computes_the_same_in_single_precision(name: str, tmp_path: Path) -> None:
    data, model, form = RUNS[name]
    trained = made_trained(data, model, **form)
    run = openvino_network(onnx_of(ClipsToActions(trained, rounding=ROUNDING["openvino"])), tmp_path)
    assert_same(run, trained, made_clips(13), tolerance=TOLERANCE["openvino"], unknown_share=0.05)


def test_runs_that_read_clips_as_published_are_refused() -> None:
    legacy = {"legacy": True, "num_frames": 16, "model_layout": "h36m17"}
    with pytest.raises(UsageError, match="legacy"):
        check_exportable(made_trained(legacy, DSTFORMER, layout="h36m17"), "onnx")


def test_openvino_is_refused_where_it_computes_something_else() -> None:
    data, model, form = RUNS["pcm3"]
    recurrent = made_trained(data, model, **form)
    with pytest.raises(UsageError, match="use --format onnx"):
        check_exportable(recurrent, "openvino")
    check_exportable(recurrent, "onnx")


@pytest.mark.parametrize(("name", "count"), [("penn_action", 20), ("motions5", 8)])
def test_real_clips_get_the_probabilities_of_the_run(shared_data: Path, tmp_path: Path, name: str, count: int) -> None:
    trained = load_run("everyday")
    clips = open_clips(shared_data / "skeletons" / f"{name}.pkl", DataSettings(skip_bad=True))
    chosen = [clips[int(number)] for number in np.linspace(0, len(clips) - 1, count).astype(int)]
    content = onnx_of(ClipsToActions(trained))
    assert_same(onnx_session(content), trained, chosen)
    run = openvino_network(onnx_of(ClipsToActions(trained, rounding=ROUNDING["openvino"])), tmp_path)
    assert_same(run, trained, chosen, tolerance=TOLERANCE["openvino"], unknown_share=0.05)

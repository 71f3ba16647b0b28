"""Backends: identical results for any batch, and the cache of converted networks."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pose_extraction.engines.devices import cpu_has_bf16
from pose_extraction.engines.engine import Engine
from pose_extraction.engines.image_networks import ImageNetwork, Normalisation, from_torch
from pose_extraction.errors import BackendError

pytestmark = pytest.mark.processor

ROOT = Path(__file__).resolve().parents[3]
IMAGENET = Normalisation((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), to_rgb=True)


def small_network() -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Sequential(
            torch.nn.Conv2d(3, 16, 3, 2, 1), torch.nn.BatchNorm2d(16), torch.nn.GELU(), torch.nn.Conv2d(16, 4, 3, 2, 1)
        ).eval()


def build(backend: str, precision: str = "fp32", batch_size: int = 4) -> ImageNetwork:
    if backend == "openvino":
        pytest.importorskip("openvino", reason="the OpenVINO extra is not installed")
    engine = Engine("cpu", backend, precision)
    return from_torch(small_network(), IMAGENET, engine, input_size=(32, 48), batch_size=batch_size)


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (count, 32, 48, 3), np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_normalisation_equals_the_published_pipelines(
    backend: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SKELPIPE_CACHE", str(tmp_path))
    images = pictures(4)
    planes = (images[..., ::-1].astype(np.float64) - IMAGENET.mean) / IMAGENET.std
    with torch.inference_mode():
        expected = small_network().double()(torch.from_numpy(planes.transpose(0, 3, 1, 2).copy())).numpy()
    np.testing.assert_allclose(build(backend)(images)[0], expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "openvino"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_result_of_an_image_does_not_depend_on_its_batch(
    backend: str, precision: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A resumed run has different batches, but must create identical files."""
    if (backend, precision) == ("openvino", "bf16") and not cpu_has_bf16():
        pytest.skip("OpenVINO with bf16 needs a processor that multiplies it, also in its oneDNN")
    monkeypatch.setenv("SKELPIPE_CACHE", str(tmp_path))
    network = build(backend, precision)
    images = pictures(4)
    together = network(images)[0]
    for row in range(4):
        np.testing.assert_array_equal(network(images[row : row + 1])[0][0], together[row])


@pytest.mark.slow
def test_openvino_models_are_cached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SKELPIPE_CACHE", str(tmp_path))
    first = build("openvino")(pictures(4))[0]
    kept = list((tmp_path / "openvino").iterdir())
    assert [path.name for path in kept[0].iterdir() if path.suffix == ".xml"] == ["model.xml"]
    assert len(kept) == 1, "a temporary folder was left behind"
    np.testing.assert_array_equal(build("openvino")(pictures(4))[0], first)
    assert list((tmp_path / "openvino").iterdir()) == kept

    # A damaged entry is replaced, even if only one weight differs. Other weights never use the old entry.
    weights = bytearray((kept[0] / "model.bin").read_bytes())
    weights[len(weights) // 2] ^= 0x40
    (kept[0] / "model.bin").write_bytes(weights)
    np.testing.assert_array_equal(build("openvino")(pictures(4))[0], first)
    other = small_network()
    other[0].weight.data += 1
    engine = Engine("cpu", "openvino", "fp32")
    changed = from_torch(other, IMAGENET, engine, input_size=(32, 48), batch_size=4)(pictures(4))[0]
    assert not np.allclose(changed, first)


class SmallMemory(torch.nn.Module):
    """Means of images, with memory for a given number of them."""

    def __init__(self, fits: int) -> None:
        super().__init__()
        self.fits = fits
        self.seen: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(images))
        if len(images) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return images.mean(dim=(2, 3))


def test_a_batch_that_does_not_fit_into_memory_is_halved_until_it_does(caplog: pytest.LogCaptureFixture) -> None:
    module = SmallMemory(fits=3)
    plain = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), to_rgb=False)
    network = from_torch(module, plain, Engine("cpu", "torch", "fp32"), input_size=(8, 6), batch_size=10)
    images = np.random.default_rng(0).integers(0, 255, (9, 8, 6, 3), np.uint8)
    for _ in range(2):
        (means,) = network(images)
        np.testing.assert_allclose(means, images.mean(axis=(1, 2)), rtol=1e-5)
    # Found once, then kept; each batch has the same shape.
    assert module.seen == [10, 5, 3, 3, 3, 3, 3, 3]
    assert [record.getMessage().count("out of memory") for record in caplog.records] == [1, 1]
    assert "--batch-size 3" in caplog.records[-1].getMessage()


def test_memory_that_does_not_suffice_for_one_image_is_an_error_with_the_fix() -> None:
    plain = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), to_rgb=False)
    network = from_torch(SmallMemory(0), plain, Engine("cpu", "torch", "fp32"), input_size=(8, 6), batch_size=4)
    with pytest.raises(BackendError, match=r"too little free memory for a single image.*--device cpu"):
        network(np.zeros((1, 8, 6, 3), np.uint8))


def test_too_large_batches_are_refused() -> None:
    with pytest.raises(ValueError, match="5 images"):
        build("torch")(pictures(5))


RELEASE_IN_THREAD = """
import signal, threading
import numpy as np, openvino
from openvino import opset13
from pose_extraction.engines.openvino_core import openvino_core

x = opset13.parameter([2, 3], np.float32)
held = [openvino_core().compile_model(openvino.Model([opset13.relu(x)], [x]), "CPU")]
last = threading.Thread(target=held.clear)
last.start()
last.join()
signal.signal(signal.SIGINT, lambda *_: print("handled"))
signal.raise_signal(signal.SIGINT)
"""


def test_signals_work_after_another_thread_released_a_network() -> None:
    """Ctrl-C caused a segmentation fault after another thread had unloaded the CPU plugin."""
    pytest.importorskip("openvino", reason="the OpenVINO extra is not installed")
    ended = subprocess.run(
        [sys.executable, "-c", RELEASE_IN_THREAD], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "handled\n"), ended.stderr

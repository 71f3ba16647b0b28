"""Run a network on a batch of images with torch, OpenVINO or ONNX Runtime.

All three backends take uint8 images (N, H, W, 3) in BGR, as decoded from a video. Normalisation is part of the
network, so that only a quarter of the bytes is copied to a GPU. The batch size is fixed; smaller batches are padded.
Kernels depend on the shape of the batch. With a fixed shape, the result for a crop is bit-identical whichever other
crops share its batch, so an interrupted and resumed run produces the same files as an uninterrupted one.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pose_extraction.engines.engine import Engine
from pose_extraction.engines.image_batches import Images, on_device, padded
from pose_extraction.engines.openvino_core import openvino_core
from pose_extraction.engines.runtimes import Runner, onnx_runner, openvino_runner, torch_device, torch_dtype
from pose_extraction.errors import BackendError, WeightsError

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

# Mean and standard deviation of ImageNet in RGB order, for values in [0, 255].
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class Normalisation:
    """Normalisation of the input channels.

    Args:
        mean: Per-channel mean of values in [0, 255], in the channel order of the network.
        std: Per-channel standard deviation, in the same units and order.
        to_rgb: Whether BGR images are converted to RGB first.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    to_rgb: bool


class ImageNetwork(Protocol):
    """A network for images with a fixed maximum batch size.

    Calling it with uint8 images (N, H, W, 3) in BGR, N <= `batch_size`, returns one float32 array of length N per
    output. A torch network takes tensors that are on its device, too.
    """

    batch_size: int

    def __call__(self, images: np.ndarray) -> list[np.ndarray]: ...


def from_torch(
    module: "torch.nn.Module",
    normalisation: Normalisation,
    engine: Engine,
    *,
    input_size: tuple[int, int],
    batch_size: int,
) -> ImageNetwork:
    """Wrap a torch network.

    Args:
        module: Network that takes normalised float32 images (N, 3, H, W) and returns a tensor or a flat tuple of them.
        normalisation: Normalisation to insert before the network.
        engine: Where and how the network runs; resolved.
        input_size: (height, width) in pixels.
        batch_size: Fixed batch size.

    Returns:
        The wrapped network.
    """
    import torch

    class Normalised(torch.nn.Module):
        mean: torch.Tensor
        std: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.module = module
            self.register_buffer("mean", torch.tensor(normalisation.mean).view(1, 3, 1, 1))
            self.register_buffer("std", torch.tensor(normalisation.std).view(1, 3, 1, 1))
            self.dtype = torch.float32

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
            planes = images.permute(0, 3, 1, 2)
            planes = planes.flip(1) if normalisation.to_rgb else planes
            outputs = self.module(((planes.float() - self.mean) / self.std).to(self.dtype))
            return tuple(outputs) if isinstance(outputs, tuple | list) else (outputs,)

    network = Normalised().eval()
    if engine.backend == "openvino":
        from pose_extraction.engines.openvino_cache import converted

        example = torch.zeros((batch_size, *input_size, 3), dtype=torch.uint8)
        return _RunnerNetwork(openvino_runner(converted(network, example), engine), batch_size)
    return _TorchNetwork(network, engine, batch_size)


def from_onnx(
    path: Path,
    content: bytes,
    normalisation: Normalisation,
    engine: Engine,
    *,
    input_size: tuple[int, int],
    batch_size: int,
) -> ImageNetwork:
    """Wrap an ONNX network with one input (N, 3, H, W).

    Args:
        path: Path of the file, used in error messages.
        content: Serialised network, possibly modified, for example to have a dynamic batch size.
        normalisation: Normalisation to apply before the network.
        engine: Where and how the network runs; resolved.
        input_size: (height, width) in pixels.
        batch_size: Fixed batch size, which the network must support.

    Returns:
        The wrapped network.

    Raises:
        BackendError: The runtime cannot load the network.
    """
    try:
        if engine.backend == "openvino":
            model = _normalising_model(content, normalisation, input_size, batch_size)
            return _RunnerNetwork(openvino_runner(model, engine), batch_size)
        return _RunnerNetwork(_normalising_runner(onnx_runner(content, engine), normalisation), batch_size)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise BackendError(
            f"{path}: {engine.backend} cannot load this ONNX file ({reason}); try another --backend"
        ) from error


def from_tflite(
    path: Path,
    normalisation: Normalisation,
    engine: Engine,
    *,
    batch_size: int,
) -> ImageNetwork:
    """Wrap a TensorFlow Lite network with one input (1, H, W, 3), for any batch size.

    Args:
        path: The file.
        normalisation: Normalisation to apply before the network.
        engine: Where and how the network runs; resolved, with the backend "openvino".
        batch_size: Fixed batch size.

    Returns:
        The wrapped network.

    Raises:
        WeightsError: The file is damaged or not such a network.
    """
    try:
        model = openvino_core().read_model(path)
        _set_batch(model, batch_size)
        _normalise(model, normalisation, layout="NHWC")
    except RuntimeError as error:
        raise WeightsError(
            f"{path}: OpenVINO cannot read this network; delete the file, so that it is fetched again"
        ) from error
    return _RunnerNetwork(openvino_runner(model, engine), batch_size)


def _set_batch(model: Any, batch_size: int) -> None:
    """Give a network that was exported for one image another batch size."""
    from openvino import opset13

    model.reshape([batch_size, *list(model.input(0).partial_shape)[1:]])
    for node in model.get_ops():
        # Where the first axis is that of the batch, "1" in the new shape means a batch of one image.
        if node.get_type_name() == "Reshape" and node.input(0).get_partial_shape()[0] == batch_size:
            shape = node.input_value(1).get_node()
            if shape.get_type_name() == "Constant" and shape.get_data()[0] == 1:
                values = np.array([batch_size, *shape.get_data()[1:]], np.int64)
                node.input(1).replace_source_output(opset13.constant(values).output(0))
    model.validate_nodes_and_infer_types()


class _TorchNetwork:
    def __init__(self, network: Any, engine: Engine, batch_size: int) -> None:
        import torch

        self.batch_size = batch_size
        # Images that are processed together; fewer once the memory of the device did not suffice.
        self._together = batch_size
        self._device = torch_device(engine)
        # Only the layers are converted. Normalisation stays in fp32: bf16 would round means such as 123.675.
        network.dtype = torch_dtype(engine)
        network.module.to(network.dtype)
        self._network = network.to(self._device).to(memory_format=torch.channels_last)

    def __call__(self, images: Images) -> list[np.ndarray]:
        import torch

        full = padded(images, self.batch_size)
        while True:
            try:
                parts = [
                    self._run(full[first : first + self._together])
                    for first in range(0, max(len(images), 1), self._together)
                ]
            except torch.OutOfMemoryError as error:
                if self._together == 1:
                    raise BackendError(
                        f"{self._device}: has too little free memory for a single image; stop other programs that use "
                        "it, or choose a smaller network or --device cpu"
                    ) from error
                self._together = -(-self._together // 2)
            else:
                return [np.concatenate(outputs)[: len(images)] for outputs in zip(*parts, strict=True)]
            # After the exception is gone, which keeps the tensors of the failed batch.
            self._empty_cache()
            log.warning(
                "%s: out of memory; from now on %d instead of %d images at a time. --batch-size %d avoids this note, "
                "and gives the same numbers in each run",
                self._device,
                self._together,
                self.batch_size,
                self._together,
            )

    def _run(self, images: Images) -> list[np.ndarray]:
        import torch

        with torch.inference_mode():
            batch = on_device(padded(images, self._together), self._device)
            return [output[: len(images)].float().cpu().numpy() for output in self._network(batch)]

    def _empty_cache(self) -> None:
        import torch

        if self._device.type == "cuda":
            torch.cuda.empty_cache()


class _RunnerNetwork:
    def __init__(self, run: Runner, batch_size: int) -> None:
        self.batch_size = batch_size
        self._run = run

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        return [output[: len(images)] for output in self._run([padded(images, self.batch_size)])]


def _normalising_model(
    content: bytes, normalisation: Normalisation, input_size: tuple[int, int], batch_size: int
) -> Any:
    """Return an OpenVINO model of uint8 images (N, H, W, 3) in BGR, which normalises them itself."""
    model = openvino_core().read_model(content)
    model.reshape([batch_size, 3, *input_size])
    return _normalise(model, normalisation, layout="NCHW")


def _normalise(model: Any, normalisation: Normalisation, *, layout: str) -> Any:
    """Make an OpenVINO model with one input of this layout take uint8 images (N, H, W, 3) in BGR; return it."""
    import openvino
    from openvino.preprocess import ColorFormat, PrePostProcessor

    processor = PrePostProcessor(model)
    source = processor.input(0)
    source.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    source.tensor().set_color_format(ColorFormat.BGR)
    source.model().set_layout(openvino.Layout(layout))
    steps = source.preprocess().convert_element_type(openvino.Type.f32)
    if normalisation.to_rgb:
        steps = steps.convert_color(ColorFormat.RGB)
    steps.mean(list(normalisation.mean)).scale(list(normalisation.std))
    return processor.build()


def _normalising_runner(run: Runner, normalisation: Normalisation) -> Runner:
    """Return a runner for uint8 images (N, H, W, 3) in BGR, which normalises them before the network."""
    mean, std = np.asarray(normalisation.mean, np.float32), np.asarray(normalisation.std, np.float32)

    def run_images(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        (images,) = inputs
        images = images[..., ::-1] if normalisation.to_rgb else images
        return run([((images.astype(np.float32) - mean) / std).transpose(0, 3, 1, 2)])

    return run_images

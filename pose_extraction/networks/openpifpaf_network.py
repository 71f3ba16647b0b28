"""OpenPifPaf networks: built without its checkpoint loader, and run with torch or OpenVINO."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from pose_extraction.engines.engine import Engine, has_module
from pose_extraction.engines.runtimes import openvino_runner, torch_device, torch_dtype
from pose_extraction.errors import BackendError, UsageError, WeightsError, installing
from pose_extraction.networks.composite_fields import CIF_CHANNELS, load_library

NETWORKS = ("shufflenetv2k16", "shufflenetv2k30", "shufflenetv2k-tiny")
# Network that comes with this project: number of blocks per stage, and channels from the first layer to the last.
TINY_BLOCKS, TINY_CHANNELS = (2, 4, 2), (24, 116, 232, 464, 464)
# Stride of the base networks. For inputs of 16k + 1 pixels, the outermost cells lie on the outermost pixels.
BASE_STRIDE = 16
# Cells per stride, in each direction, of the published COCO networks (trained with `--cocokp-upsample=2`).
PUBLISHED_UPSAMPLE = 2

Forward = Callable[[np.ndarray], Sequence[np.ndarray]]


def build_network(
    name: str = "shufflenetv2k16", *, state_dict: Mapping[str, torch.Tensor] | None = None, seed: int = 0
) -> torch.nn.Module:
    """Build a network from openpifpaf's base network and COCO heads.

    Nothing is downloaded, and torch's random state is not changed.

    Args:
        name: One of `NETWORKS`.
        state_dict: Weights of the whole network, with identical names and shapes; None for random weights.
        seed: Seed of the random weights.

    Returns:
        A network in evaluation mode, float32 (N, 3, 16a + 1, 16b + 1) -> CIF (N, 17, 5, h, w), CAF (N, 19, 8, h, w),
        with h = ua + 1, w = ub + 1 and u cells per stride: as in `state_dict`, or else `PUBLISHED_UPSAMPLE`. The
        values are raw, without the activations of the heads; see `activate`.

    Raises:
        UsageError: The name is not in `NETWORKS`.
        BackendError: openpifpaf is not installed or cannot be imported.
        WeightsError: `state_dict` does not match the network.
    """
    if name not in NETWORKS:
        raise UsageError(f"unknown openpifpaf network {name!r}: choose one of {', '.join(NETWORKS)}")
    library = load_library()
    upsample = PUBLISHED_UPSAMPLE if state_dict is None else _upsample(name, state_dict)
    head_metas = library.plugins.coco.CocoKp(upsample_stride=upsample, with_dense=False).head_metas
    library.network.factory.BASE_FACTORIES.setdefault("shufflenetv2k-tiny", lambda: _tiny_base(library))
    # Use only the CPU generator: `torch.manual_seed` also seeds those of accelerators, which are not restored here.
    state = torch.default_generator.get_state()
    try:
        torch.default_generator.manual_seed(seed)
        shell, _ = library.network.Factory(base_name=name, checkpoint=None).factory(head_metas=head_metas)
    finally:
        torch.default_generator.set_state(state)
    if state_dict is not None:
        try:
            shell.load_state_dict(state_dict, strict=True)
        except RuntimeError as error:
            raise WeightsError(f"the checkpoint does not match openpifpaf's {name} with COCO heads: {error}") from error
    return RawFields(shell).eval()


def _tiny_base(library: Any) -> torch.nn.Module:
    return library.network.basenetworks.ShuffleNetV2K("shufflenetv2k-tiny", list(TINY_BLOCKS), list(TINY_CHANNELS))


def _upsample(name: str, state_dict: Mapping[str, torch.Tensor]) -> int:
    weight = state_dict.get("head_nets.0.conv.weight")
    if weight is None:
        raise WeightsError(
            f"not a checkpoint of openpifpaf's {name}: 'head_nets.0.conv.weight' is missing "
            f"among its {len(state_dict)} tensors"
        )
    cells, rest = divmod(weight.shape[0], 17 * CIF_CHANNELS)
    upsample = round(cells**0.5)
    if rest or upsample < 1 or upsample**2 != cells:
        raise WeightsError(
            f"the first head of the checkpoint has {weight.shape[0]} channels, but 17 joints need 85 times a square "
            "number; use a checkpoint trained on cocokp"
        )
    return upsample


class RawFields(torch.nn.Module):
    """The network up to the last convolution of its heads, for inputs of any size and for any backend.

    Args:
        shell: openpifpaf's `Shell` of a base network and two heads.
    """

    def __init__(self, shell: Any) -> None:
        super().__init__()
        self.shell = shell

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        feature = self.shell.base_net(image)
        fields = []
        for head in self.shell.head_nets:
            field = head.conv(feature)
            if head.upsample_op is not None:
                # k + 1 cells become u(k + 1), of which uk + 1 lie between the first and last pixel.
                field = head.upsample_op(field)
                before = (head.upsample_stride - 1) // 2
                after = head.upsample_stride - 1 - before
                field = field[:, :, before : field.shape[2] - after, before : field.shape[3] - after]
            fields.append(field.unflatten(1, (head.n_fields, head.n_components)))
        return tuple(fields)


def network_forward(network: torch.nn.Module, engine: Engine) -> Forward:
    """Return a function that runs a network: float32 (N, 3, h, w) -> raw fields in float32.

    The function accepts inputs of any size, because frames of different shapes result in inputs of different shapes.

    Args:
        network: Network from `build_network`.
        engine: Where and how it runs. bf16 moves the ends of long bones by up to 0.4 % of their length.

    Returns:
        The function.

    Raises:
        BackendError: The backend is not supported or not installed.
    """
    if engine.backend == "torch":
        return _torch_forward(network, engine)
    if engine.backend == "openvino":
        return _openvino_forward(network, engine)
    raise BackendError(f"backend {engine.backend} does not support openpifpaf: use --backend torch or openvino")


def _torch_forward(network: torch.nn.Module, engine: Engine) -> Forward:
    device, dtype = torch_device(engine), torch_dtype(engine)
    network = network.to(device, dtype)

    def forward(inputs: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            fields = network(torch.from_numpy(inputs).to(device, dtype))
            return [field.float().cpu().numpy() for field in fields]

    return forward


def _openvino_forward(network: torch.nn.Module, engine: Engine) -> Forward:
    if not has_module("openvino"):
        raise BackendError(f"backend openvino is not installed; run {installing('openvino')}, or use --backend torch")
    import openvino

    # Traced with a small image: nothing in `RawFields` depends on the size.
    model = openvino.convert_model(network, example_input=torch.zeros(1, 3, 2 * BASE_STRIDE + 1, 3 * BASE_STRIDE + 1))
    run = openvino_runner(model, engine)
    return lambda inputs: run([inputs])

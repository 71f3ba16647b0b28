"""ViTPose as the network of a top-down estimator."""

from pathlib import Path
from typing import TYPE_CHECKING

from pose_extraction.engines.image_networks import IMAGENET_MEAN, IMAGENET_STD, Normalisation
from pose_extraction.networks.topdown import TopdownSpec
from pose_extraction.networks.vitpose.architecture import Architecture

if TYPE_CHECKING:
    import torch


def vitpose_network(
    architecture: Architecture, file: Path | None, *, seed: int = 0
) -> "tuple[torch.nn.Module, Normalisation, TopdownSpec]":
    """Build a ViTPose network on the CPU.

    Args:
        architecture: Sizes of the network.
        file: Its weights: a checkpoint of mmpose or of the authors, or a safetensors file in Hugging Face's format;
            None for random weights.
        seed: Seed of random weights.

    Returns:
        The network, which takes normalised crops, their normalisation, and the format of input and output.

    Raises:
        WeightsError: The file is damaged, unsafe, or of another network.
    """
    # Imported here, because these load torch.
    from pose_extraction.engines.checkpoints import apply_state_dict, load_state_dict
    from pose_extraction.networks.vitpose.network import build, build_empty
    from pose_extraction.networks.vitpose.weights import with_own_names

    if file is None:
        network = build(architecture, seed)
    else:
        weights, architecture = with_own_names(load_state_dict(file), architecture, file)
        network = build_empty(architecture)
        apply_state_dict(network, weights, source=file)
    # The heat maps of the mirrored crop are not shifted (`shift_heatmap=False` in all published configurations).
    spec = TopdownSpec(architecture.input_size, codec="udp", shift_flipped=False, blur_kernel=architecture.blur_kernel)
    return network, Normalisation(IMAGENET_MEAN, IMAGENET_STD, to_rgb=True), spec

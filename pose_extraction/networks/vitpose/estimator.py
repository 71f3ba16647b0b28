"""ViTPose as a top-down estimator."""

from pathlib import Path

from pose_extraction.engines.engine import Engine
from pose_extraction.engines.image_networks import IMAGENET_MEAN, IMAGENET_STD, Normalisation, from_torch
from pose_extraction.networks.topdown import TopdownEstimator, TopdownSpec
from pose_extraction.networks.vitpose.architecture import Architecture


def load_vitpose(
    architecture: Architecture,
    file: Path | None,
    engine: Engine,
    *,
    seed: int = 0,
    batch_size: int,
    flip_test: bool = False,
) -> TopdownEstimator:
    """Build a ViTPose estimator.

    Args:
        architecture: Sizes of the network.
        file: Its weights: a checkpoint of mmpose or of the authors, or a safetensors file in Hugging Face's format;
            None for random weights.
        engine: Where and how it runs; resolved.
        seed: Seed of random weights.
        batch_size: Persons per batch.
        flip_test: See `TopdownEstimator`.

    Raises:
        WeightsError: The file is damaged, unsafe, or of another network.
    """
    # Imported here, because these load torch.
    from pose_extraction.engines.checkpoints import apply_state_dict, load_state_dict
    from pose_extraction.networks.vitpose.network import build
    from pose_extraction.networks.vitpose.weights import with_own_names

    if file is None:
        network = build(architecture, seed)
    else:
        weights, architecture = with_own_names(load_state_dict(file), architecture, file)
        network = build(architecture)
        apply_state_dict(network, weights, source=file)
    size = architecture.input_size
    runner = from_torch(
        network, Normalisation(IMAGENET_MEAN, IMAGENET_STD, to_rgb=True), engine, input_size=size, batch_size=batch_size
    )
    # The heat maps of the mirrored crop are not shifted (`shift_heatmap=False` in all published configurations).
    spec = TopdownSpec(size, codec="udp", shift_flipped=False, blur_kernel=architecture.blur_kernel)
    return TopdownEstimator(runner, spec, flip_test=flip_test)

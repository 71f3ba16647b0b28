"""OpenMMLab networks, built from the configurations shipped with mmpose and mmdet.

Only this module, `mmlab_packages` and `two_stage` use OpenMMLab.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pose_extraction.errors import BackendError
from pose_extraction.networks.openmmlab.mmlab_packages import INSTALL_HINT, prepare, scope

if TYPE_CHECKING:
    import torch

# Package name for the configurations of networks that come with this project.
OWN_PACKAGE = "pose_extraction"


@dataclass(frozen=True)
class TopdownConfig:
    """Input and output format of a top-down network, from its configuration.

    Args:
        input_size: (height, width) of the crop in pixels.
        codec: "msra" (plain heat maps, quarter-pixel shift) or "udp" (unbiased data processing, DARK refinement).
        mean: Per-channel mean of values in [0, 255], in RGB order.
        std: Per-channel standard deviation, in the same units and order.
        box_scale: Factor by which a box is enlarged before it is cropped.
        shift_flipped: Whether the heat maps of the mirrored crop are shifted right by one cell before averaging.
        blur_kernel: Width in cells of the Gaussian kernel that smooths heat maps before DARK refinement.
    """

    input_size: tuple[int, int]
    codec: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    box_scale: float
    shift_flipped: bool
    blur_kernel: int


@dataclass(frozen=True)
class DetectorConfig:
    """Input and output format of a detector, from its configuration.

    Args:
        input_size: (height, width) in pixels to which images are scaled.
        mean: Per-channel mean of values in [0, 255], in the channel order of the network.
        std: Per-channel standard deviation, in the same units and order.
        to_rgb: Whether the network expects RGB instead of BGR.
        pad_value: Grey level of the padding, 0 to 255.
        nms_iou: Intersection over union above which the box with the lower score is removed.
        two_stage: Whether it belongs to the R-CNN family, which runs with mmdet's code.
    """

    input_size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    to_rgb: bool
    pad_value: float
    nms_iou: float
    two_stage: bool


def shipped_config(package: str, config: str) -> Path:
    """Return the path of a shipped configuration.

    Args:
        package: "mmpose", "mmdet" or `OWN_PACKAGE`.
        config: Path in the package, such as "configs/rtmdet/rtmdet_m_8xb32-300e_coco.py"; for `OWN_PACKAGE`, a file
            such as "tiny/hrnet-tiny.yaml", which is based on a configuration of another package.

    Raises:
        BackendError: The package is not installed, or does not contain the file.
    """
    if package == OWN_PACKAGE:
        return Path(__file__).parents[1] / config
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise BackendError(f"the package {package} is not installed; {INSTALL_HINT}")
    path = Path(spec.origin).parent / ".mim" / config
    if not path.is_file():
        raise BackendError(
            f"{package} has no configuration {config}; install the version given in docs/installation.md"
        )
    return path


def load_config(package: str, config: str) -> Any:
    """Read a configuration; arguments and exceptions as `shipped_config`."""
    prepare()
    import mmengine

    return mmengine.Config.fromfile(str(shipped_config(package, config)))


def _without_pretrained(node: Any) -> Any:
    """Return the configuration without any `init_cfg` of type Pretrained, so that building never downloads weights."""
    if isinstance(node, dict):
        kept = {}
        for key, value in node.items():
            if key == "init_cfg" and isinstance(value, dict) and value.get("type") == "Pretrained":
                continue
            kept[key] = _without_pretrained(value)
        return kept
    if isinstance(node, list | tuple):
        return type(node)(_without_pretrained(value) for value in node)
    return node


def _build(package: str, model_config: Any, seed: int) -> "torch.nn.Module":
    import logging

    import torch
    from mmengine import ConfigDict
    from mmengine.logging import MMLogger

    # Initialisation logs thousands of lines at level INFO.
    MMLogger.get_current_instance().setLevel(logging.WARNING)
    model_config = ConfigDict(_without_pretrained(model_config.to_dict()))
    if package == "mmpose":
        from mmpose.registry import MODELS
    else:
        from mmdet.registry import MODELS
    with scope(package), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = MODELS.build(model_config)
        network.init_weights()
    return network.eval().requires_grad_(False)


def build_topdown(config: str, *, package: str = "mmpose", seed: int = 0) -> tuple["torch.nn.Module", TopdownConfig]:
    """Build a top-down pose network with random weights.

    Args:
        config: Path of the configuration below the package's `.mim` folder.
        package: "mmpose" or `OWN_PACKAGE`.
        seed: Seed of the random weights. The global random state is not changed.

    Returns:
        mmpose's TopdownPoseEstimator in evaluation mode, and its input and output format.

    Raises:
        BackendError: A package is missing, or the codec or colour order is not supported.
    """
    settings = load_config(package, config)
    model = settings.model
    codec = settings.codec
    kinds = {"MSRAHeatmap": "msra", "UDPHeatmap": "udp"}
    if codec["type"] not in kinds or codec.get("unbiased") or codec.get("heatmap_type", "gaussian") != "gaussian":
        raise BackendError(f"the codec {dict(codec)} of {config} is not supported; use a plain or UDP heat map config")
    preprocessor = model.data_preprocessor
    if not preprocessor.get("bgr_to_rgb", False):
        raise BackendError(f"{config} expects BGR input, which is not supported; export the network to ONNX instead")
    width, height = codec["input_size"]
    facts = TopdownConfig(
        input_size=(height, width),
        codec=kinds[codec["type"]],
        mean=tuple(preprocessor.mean),
        std=tuple(preprocessor.std),
        box_scale=1.25,
        shift_flipped=bool(model.test_cfg.get("shift_heatmap", False)),
        blur_kernel=codec.get("blur_kernel_size", 11),
    )
    return _build("mmpose", model, seed), facts


def build_detector(package: str, config: str, *, seed: int = 0) -> tuple["torch.nn.Module", DetectorConfig]:
    """Build a detector with random weights.

    Args:
        package: "mmdet", "mmpose" (for the person detectors in its demo folder), or `OWN_PACKAGE`.
        config: Path of the configuration below the package's `.mim` folder.
        seed: Seed of the random weights. The global random state is not changed.

    Returns:
        mmdet's detector in evaluation mode, and its input and output format.

    Raises:
        BackendError: A package is missing.
    """
    settings = load_config(package, config)
    model = settings.model
    preprocessor = model.data_preprocessor
    resize = next(step for step in settings.test_pipeline if step["type"].endswith("Resize"))
    width, height = resize["scale"]
    two_stage = "rpn_head" in model
    test = model.test_cfg.rcnn if two_stage else model.test_cfg
    facts = DetectorConfig(
        input_size=(height, width),
        mean=tuple(preprocessor.mean),
        std=tuple(preprocessor.std),
        to_rgb=bool(preprocessor.get("bgr_to_rgb", False)),
        pad_value=0.0 if two_stage else 114.0,
        nms_iou=float(test.nms.iou_threshold),
        two_stage=two_stage,
    )
    return _build("mmdet", model, seed), facts


def heatmap_function(network: "torch.nn.Module") -> "torch.nn.Module":
    """Return the part of a pose estimator that maps normalised images (N, 3, H, W) to heat maps (N, V, h, w)."""
    import torch

    class Heatmaps(torch.nn.Module):
        network: Any

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            return self.network.head.forward(self.network.extract_feat(pictures))

    return Heatmaps().eval()


def raw_detection_function(network: "torch.nn.Module") -> "torch.nn.Module":
    """Return the part of a one-stage detector that maps normalised images (N, 3, H, W) to raw predictions.

    Its output is a flat tuple: the scores of all levels (N, classes, h, w), then their distances (N, 4, h, w).
    """
    import torch

    class RawDetections(torch.nn.Module):
        network: Any

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, ...]:
            features = self.network.extract_feat(pictures)
            scores, distances = self.network.bbox_head.forward(features)
            return (*scores, *distances)

    return RawDetections().eval()

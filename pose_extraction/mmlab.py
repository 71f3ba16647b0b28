"""OpenMMLab's networks, built from the configs that mmpose and mmdet ship. The only file that knows OpenMMLab.

mmcv-lite stands in for mmcv, whose compiled operators have no wheels for current torch. Of these operators the
networks used here need two, `nms` and `roi_align`, and torchvision has both; every other one raises when it is called.
"""

import contextlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pose_extraction.errors import BackendError

if TYPE_CHECKING:
    import torch

PACKAGES = ("mmengine", "mmcv", "mmdet", "mmpose", "mmpretrain")
# Where the configs of networks that come with this project lie.
OWN_PACKAGE = "pose_extraction"
INSTALL_HINT = "see the section on OpenMMLab networks in README, or give an ONNX file instead"


@dataclass(frozen=True)
class TopdownConfig:
    """What a shipped config says of a top-down network besides its layers.

    Args:
        input_size: (height, width) of the crop in pixels.
        codec: "msra" (plain heat maps, quarter-pixel shift) or "udp" (unbiased data processing, DARK refinement).
        mean: Per-channel mean in the order that the network reads (RGB here), of values 0 to 255.
        std: Per-channel standard deviation, likewise.
        box_scale: Factor by which a box is widened before it is cropped.
        shift_flipped: Whether the heat maps of the mirrored crop are moved right by one cell before averaging.
        blur_kernel: Size of the Gaussian that smooths heat maps before DARK refinement, cells.
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
    """What a shipped config says of a detector besides its layers.

    Args:
        input_size: (height, width) of the square or oblong that an image is scaled to fit.
        mean: Per-channel mean, of values 0 to 255, in the order that the network reads.
        std: Per-channel standard deviation, likewise.
        to_rgb: Whether the network reads RGB instead of BGR.
        pad_value: Grey level around the scaled image.
        nms_iou: Boxes that overlap a better one by more than this are dropped.
        two_stage: Whether it is of the R-CNN family, which runs through mmdet's own code from image to boxes.
    """

    input_size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    to_rgb: bool
    pad_value: float
    nms_iou: float
    two_stage: bool


def missing_packages() -> list[str]:
    """Names of the OpenMMLab modules that are not installed."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def _operators_from_torchvision() -> ModuleType:
    """A stand-in for mmcv's compiled extension module."""
    import torchvision

    def nms(boxes: "torch.Tensor", scores: "torch.Tensor", iou_threshold: float, offset: int) -> "torch.Tensor":
        # offset 1 is the old convention in which a box includes its last pixel.
        widened = boxes.clone()
        widened[:, 2:] += offset
        return torchvision.ops.nms(widened, scores, iou_threshold)

    def roi_align_forward(
        features: "torch.Tensor",
        rois: "torch.Tensor",
        output: "torch.Tensor",
        argmax_y: "torch.Tensor",
        argmax_x: "torch.Tensor",
        *,
        aligned_height: int,
        aligned_width: int,
        spatial_scale: float,
        sampling_ratio: int,
        pool_mode: int,
        aligned: bool,
    ) -> None:
        if pool_mode != 1:
            raise BackendError(
                "roi_align with maximum pooling is not available here; use a config with pool_mode='avg'"
            )
        size = (aligned_height, aligned_width)
        pooled = torchvision.ops.roi_align(features, rois, size, spatial_scale, sampling_ratio or -1, aligned)
        output.copy_(pooled)

    known = {"nms": nms, "roi_align_forward": roi_align_forward}

    class Operators(ModuleType):
        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)

            def refuse(*_arguments: object, **_keywords: object) -> None:
                raise BackendError(
                    f"this network needs mmcv's compiled operator '{name}', which mmcv-lite lacks; "
                    "the networks that `skelpipe models` lists need none"
                )

            return known.get(name, refuse)

    module = Operators("mmcv._ext")
    module.__spec__ = ModuleSpec("mmcv._ext", loader=None)
    return module


def prepare() -> None:
    """Makes mmdet, mmpose and mmpretrain importable and their modules known to mmengine's registries.

    Their warnings of what future versions of torch will drop are not for the user of this project: silenced.

    Raises:
        BackendError: An OpenMMLab package is not installed.
    """
    missing = missing_packages()
    if missing:
        raise BackendError(f"the packages {', '.join(missing)} are not installed; {INSTALL_HINT}")
    if "mmcv._ext" not in sys.modules and importlib.util.find_spec("mmcv._ext") is None:
        sys.modules["mmcv._ext"] = _operators_from_torchvision()
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"mm(cv|det|engine|pose|pretrain)\b")
    import mmdet.utils
    import mmpose.utils
    import mmpretrain.models  # noqa: F401  (registers ViTPose's backbone)

    mmdet.utils.register_all_modules(init_default_scope=False)
    mmpose.utils.register_all_modules(init_default_scope=False)


@contextlib.contextmanager
def scope(name: str) -> Iterator[None]:
    """Looks registry names up in one package while the block runs, and in the former one afterwards."""
    from mmengine.registry import DefaultScope

    # mmengine's scope is one process-wide value: building a pose model would otherwise hide mmdet's transforms.
    with DefaultScope.overwrite_default_scope(name):
        yield


def shipped_config(package: str, config: str) -> Path:
    """Where `package` ("mmpose" or "mmdet") keeps a config, such as "configs/rtmdet/rtmdet_m_8xb32-300e_coco.py".

    Those of `OWN_PACKAGE` lie in this package itself ("tiny/hrnet-tiny.yaml") and build on those of the others.

    Raises:
        BackendError: The package is not installed, or does not ship the file.
    """
    if package == OWN_PACKAGE:
        return Path(__file__).parent / config
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise BackendError(f"the package {package} is not installed; {INSTALL_HINT}")
    path = Path(spec.origin).parent / ".mim" / config
    if not path.is_file():
        raise BackendError(f"{package} ships no config {config}; install the version that README names")
    return path


def load_config(package: str, config: str) -> Any:
    """Reads a config that `shipped_config` finds."""
    prepare()
    import mmengine

    return mmengine.Config.fromfile(str(shipped_config(package, config)))


def _without_pretrained(node: Any) -> Any:
    """The same config with every `init_cfg` of type Pretrained removed: nothing may be fetched while building."""
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

    # Initialising logs every layer's scheme at level INFO, some thousand lines that say nothing to a user.
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
    """Builds a top-down pose network with weights drawn from `seed`.

    Args:
        config: Path of the config below the package's `.mim` folder.
        package: "mmpose", or `OWN_PACKAGE`.
        seed: For the random weights; the global random state is left as it was.

    Returns:
        mmpose's TopdownPoseEstimator in evaluation mode, and what its config says of input and codec.
    """
    settings = load_config(package, config)
    model = settings.model
    codec = settings.codec
    kinds = {"MSRAHeatmap": "msra", "UDPHeatmap": "udp"}
    if codec["type"] not in kinds or codec.get("unbiased") or codec.get("heatmap_type", "gaussian") != "gaussian":
        raise BackendError(f"the codec {dict(codec)} of {config} is not supported; use a plain or UDP heat-map config")
    preprocessor = model.data_preprocessor
    if not preprocessor.get("bgr_to_rgb", False):
        raise BackendError(f"{config} reads BGR, which no published pose config does; export it to ONNX instead")
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
    """Builds a detector with weights drawn from `seed`.

    Args:
        package: "mmdet", "mmpose" for the person-trained configs in its demo folder, or `OWN_PACKAGE`.
        config: Path of the config below the package's `.mim` folder.
        seed: For the random weights; the global random state is left as it was.

    Returns:
        mmdet's detector in evaluation mode, and what its config says of input and boxes.
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
    """The part of a pose estimator that turns a normalised picture (N, 3, H, W) into heat maps (N, V, h, w)."""
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
    """The part of a one-stage detector that turns a normalised picture into class scores and box distances.

    Its output is a flat tuple: the levels' scores (N, classes, h, w), then the levels' distances (N, 4, h, w).
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


def normalised(pictures: "torch.Tensor", config: TopdownConfig | DetectorConfig) -> "torch.Tensor":
    """float32 (N, 3, H, W) as a network of `config` reads it, of uint8 (N, H, W, 3) BGR, for its training."""
    import torch

    to_rgb = config.to_rgb if isinstance(config, DetectorConfig) else True
    ordered = pictures.flip(-1) if to_rgb else pictures
    planes = (ordered.float() - torch.tensor(config.mean)) / torch.tensor(config.std)
    return planes.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def detection_loss(network: Any, pictures: "torch.Tensor", boxes: Sequence["torch.Tensor"]) -> "torch.Tensor":
    """The loss of a one-stage detector's own head, for its training.

    Args:
        network: As `build_detector` makes it.
        pictures: As `normalised` makes them.
        boxes: For each picture float32 (K, 4), x1 y1 x2 y2 in pixels, of the class 0.
    """
    import torch
    from mmengine.structures import InstanceData

    size = tuple(pictures.shape[2:])
    levels = [[level.float() for level in kind] for kind in network.bbox_head.forward(network.extract_feat(pictures))]
    truth = [InstanceData(bboxes=box, labels=torch.zeros(len(box), dtype=torch.long)) for box in boxes]
    facts = [{"img_shape": size, "pad_shape": size, "batch_input_shape": size} for _ in boxes]
    with scope("mmdet"):
        losses = network.bbox_head.loss_by_feat(*levels, truth, facts)
    return torch.stack([part for value in losses.values() for part in value]).sum()

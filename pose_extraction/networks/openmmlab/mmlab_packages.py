"""Make OpenMMLab's packages importable: stand-ins for what current Python and torch releases lack.

mmcv-lite replaces mmcv, whose compiled operators have no wheels for current versions of torch. The networks in the
model table need two of these operators, `nms` and `roi_align`, which torchvision provides. All other operators raise an
exception when they are called.
"""

import contextlib
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pose_extraction.errors import BackendError

if TYPE_CHECKING:
    import torch

PACKAGES = ("mmengine", "mmcv", "mmdet", "mmpose", "mmpretrain")
INSTALL_HINT = "see docs/installation.md#openmmlab-networks, or use an ONNX file instead"


def missing_packages() -> list[str]:
    """Return the names of the OpenMMLab modules that are not installed."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def _operators_from_torchvision() -> ModuleType:
    """Create a replacement for mmcv's compiled extension module."""
    from pose_extraction.engines.without_compiler import without_compiler

    with without_compiler():
        import torchvision

    def nms(boxes: "torch.Tensor", scores: "torch.Tensor", iou_threshold: float, offset: int) -> "torch.Tensor":
        # offset = 1 is the old convention in which boxes include their last pixel.
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
                "roi_align with maximum pooling is not supported; use a configuration with pool_mode='avg'"
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
                    f"this network needs mmcv's compiled operator '{name}', which mmcv-lite does not have; use one of "
                    "the networks listed by `skelpipe models`"
                )

            return known.get(name, refuse)

    module = Operators("mmcv._ext")
    module.__spec__ = ModuleSpec("mmcv._ext", loader=None)
    return module


def _provide_coco_tools() -> None:
    """Give mmpose pycocotools under the name xtcocotools, if that is not installed.

    mmpose imports this fork of pycocotools for data sets and metrics of COCO, which nothing here uses. The fork does
    not build for Python 3.13.
    """
    if importlib.util.find_spec("xtcocotools") is not None:
        return
    for name in ("", ".coco", ".cocoeval", ".mask"):
        sys.modules[f"xtcocotools{name}"] = importlib.import_module(f"pycocotools{name}")


@contextlib.contextmanager
def _left_out(*names: str) -> Iterator[None]:
    """Let imports of modules fail during the block as if they were not installed, unless they have been imported."""
    blocked = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(blocked))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in blocked:
            del sys.modules[name]


def prepare() -> None:
    """Make mmdet, mmpose and mmpretrain importable, and register their modules with mmengine.

    Their FutureWarnings are silenced, because users of this project cannot act on them.

    Raises:
        BackendError: An OpenMMLab package is not installed.
    """
    missing = missing_packages()
    if missing:
        raise BackendError(f"the packages {', '.join(missing)} are not installed; {INSTALL_HINT}")
    if "mmcv._ext" not in sys.modules and importlib.util.find_spec("mmcv._ext") is None:
        sys.modules["mmcv._ext"] = _operators_from_torchvision()
    _provide_coco_tools()
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"mm(cv|det|engine|pose|pretrain)\b")
    # Python 3.12 and later show these while they compile the packages, that is, in the first run. The name of a module
    # is then the path of its file.
    warnings.filterwarnings("ignore", category=SyntaxWarning, module=r".*\bmm(cv|det|engine|pose|pretrain)\b")
    # mmdet draws with one and interpolates tracks with the other, which nothing here does, and works without them. With
    # pandas, which they import, they take as long as mmdet itself.
    with _left_out("seaborn", "sklearn"):
        import mmdet.utils
        import mmpose.utils
        import mmpretrain.models  # noqa: F401  (registers ViTPose's backbone)

        mmdet.utils.register_all_modules(init_default_scope=False)
        mmpose.utils.register_all_modules(init_default_scope=False)


@contextlib.contextmanager
def scope(name: str) -> Iterator[None]:
    """Look up registry names in one package during the block, and restore the previous scope afterwards.

    Args:
        name: "mmpose" or "mmdet".
    """
    from mmengine.registry import DefaultScope

    # mmengine's scope is process-wide: building a pose model would otherwise hide mmdet's transforms.
    with DefaultScope.overwrite_default_scope(name):
        yield

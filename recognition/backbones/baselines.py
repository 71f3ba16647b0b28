"""The baselines that MaskCLR is held against: by name, with their sizes, and what they can be asked for."""

from pose_extraction.errors import UsageError
from pose_extraction.skeleton import COCO17
from recognition.backbones.aagcn import AAGCN
from recognition.backbones.base import Backbone
from recognition.backbones.ctrgcn import CTRGCN
from recognition.backbones.foreign_settings import refuse_foreign
from recognition.backbones.msg3d import MSG3D
from recognition.backbones.poseconv3d import PoseConv3D
from recognition.backbones.stgcnpp import STGCNPP
from recognition.settings import ModelSettings, RunSettings

GRAPHS: dict[str, type[STGCNPP] | type[AAGCN] | type[CTRGCN]] = {"stgcnpp": STGCNPP, "aagcn": AAGCN, "ctrgcn": CTRGCN}
NAMES = (*GRAPHS, "msg3d", "poseconv3d")
# Widths of the first blocks for hundreds of clips and a processor; as published 64, 96 of MS-G3D, 32 of PoseConv3D.
SMALL = {
    "stgcnpp": {"dim": 16},
    "aagcn": {"dim": 16},
    "ctrgcn": {"dim": 16},
    "msg3d": {"dim": 24},
    "poseconv3d": {"dim": 8},
}
# Fewer leave two frames to the last stage, where torch's gradients in bf16 on a processor are not numbers.
FEWEST_FRAMES = {"poseconv3d": 5}
# A baseline has its width, `dim`, and graphs their `depth`.
NOT_THEIRS = ("heads", "dim_representation")


def build_baseline(settings: ModelSettings, num_joints: int, channels: int) -> Backbone:
    """A baseline with weights as they begin; sizes that are None are as published.

    Raises:
        UsageError: Sizes that it does not have, or joints that it does not know.
    """
    name = settings.backbone
    refuse_foreign(settings, besides=NOT_THEIRS if name in GRAPHS else (*NOT_THEIRS, "depth"))
    if num_joints != COCO17.num_joints or channels != 3:
        raise UsageError(f"model.backbone={name} is for {COCO17.name} in 2D, and not for {num_joints} joints")
    if name == "poseconv3d":
        return PoseConv3D(num_joints=num_joints, max_frames=settings.max_frames, **_width(settings))
    if name == "msg3d":
        if settings.dim is not None and settings.dim % 6:
            raise UsageError(
                f"model.dim={settings.dim}: MS-G3D needs a multiple of 6, such as {max(6, round(settings.dim / 6) * 6)}"
            )
        return MSG3D(channels=channels, max_frames=settings.max_frames, **_width(settings))
    depth = {} if settings.depth is None else {"depth": settings.depth}
    return GRAPHS[name](channels=channels, max_frames=settings.max_frames, **_width(settings), **depth)


def _width(settings: ModelSettings) -> dict[str, int]:
    return {} if settings.dim is None else {"width": settings.dim}


def check_baseline(settings: RunSettings, *, layout: str, dimensions: int) -> None:
    """Refuses to train a baseline on what it does not know, or by a method that needs attention.

    Raises:
        UsageError: It would be.
    """
    name, data = settings.model.backbone, settings.data
    if name not in NAMES:
        return
    if settings.training.objective != "cross_entropy":
        raise UsageError(
            f"model.backbone={name} has no attention to mask by: set training.objective=cross_entropy, or begin with "
            f"its config, baselines/{name}"
        )
    if layout != COCO17.name or dimensions != 2:
        raise UsageError(
            f"model.backbone={name} knows {COCO17.name} in 2D alone, and these are {layout} in {dimensions}D; give it "
            "such skeletons, or choose another backbone"
        )
    if data.num_frames == "own":
        raise UsageError(f"model.backbone={name} takes clips of one length: set data.num_frames, such as 100")
    if data.num_frames < FEWEST_FRAMES.get(name, 1):
        raise UsageError(
            f"data.num_frames={data.num_frames}: model.backbone={name} halves them, and needs {FEWEST_FRAMES[name]} or "
            "more; its config has 48"
        )

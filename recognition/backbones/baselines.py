"""The baselines that MaskCLR is compared with: names, sizes and supported settings."""

from pose_extraction.errors import UsageError
from pose_extraction.skeleton import COCO17
from recognition.backbones.base import Backbone
from recognition.backbones.foreign_settings import refuse_foreign
from recognition.backbones.graph_networks.aagcn import AAGCN
from recognition.backbones.graph_networks.ctrgcn import CTRGCN, PysklCTRGCN
from recognition.backbones.graph_networks.msg3d import MSG3D
from recognition.backbones.graph_networks.stgcnpp import STGCNPP
from recognition.backbones.poseconv3d import PoseConv3D
from recognition.settings import ModelSettings, RunSettings

GRAPHS: dict[str, type[STGCNPP] | type[AAGCN] | type[CTRGCN] | type[PysklCTRGCN]] = {
    "stgcnpp": STGCNPP,
    "aagcn": AAGCN,
    "ctrgcn": CTRGCN,
}
NAMES = (*GRAPHS, "msg3d", "poseconv3d")
# Networks whose PYSKL version differs from that of their authors.
VARIANTS = ("ctrgcn", "msg3d")
# Widths of the first blocks for a few hundred clips and a CPU; published: 64, MS-G3D 96, PoseConv3D 32.
SMALL = {
    "stgcnpp": {"dim": 16},
    "aagcn": {"dim": 16},
    "ctrgcn": {"dim": 16},
    "msg3d": {"dim": 24},
    "poseconv3d": {"dim": 8},
}
# With fewer frames the last stage has two, for which torch's bf16 gradients on a CPU are NaN.
FEWEST_FRAMES = {"poseconv3d": 5}
# Baselines have a width, `dim`; graph networks also have a `depth`.
NOT_THEIRS = ("heads", "dim_representation")


def build_baseline(settings: ModelSettings, num_joints: int, channels: int) -> Backbone:
    """Build a baseline with initial weights; sizes that are None are the published ones.

    Args:
        settings: Name and sizes of the baseline.
        num_joints: V; must be 17, COCO's joints.
        channels: C; must be 3, (x, y, score).

    Raises:
        UsageError: The baseline does not have one of the sizes, or does not support the joint layout.
    """
    name = settings.backbone
    refuse_foreign(
        settings,
        own=("variant",) if name in VARIANTS else (),
        besides=NOT_THEIRS if name in GRAPHS else (*NOT_THEIRS, "depth"),
    )
    if num_joints != COCO17.num_joints or channels != 3:
        raise UsageError(f"model.backbone={name} supports only {COCO17.name} in 2D, not {num_joints} joints")
    if name == "poseconv3d":
        return PoseConv3D(num_joints=num_joints, max_frames=settings.max_frames, **_width(settings))
    if name == "msg3d":
        if settings.dim is not None and settings.dim % 6:
            raise UsageError(
                f"model.dim={settings.dim}: MS-G3D needs a multiple of 6, such as {max(6, round(settings.dim / 6) * 6)}"
            )
        return MSG3D(channels=channels, max_frames=settings.max_frames, variant=settings.variant, **_width(settings))
    depth = {} if settings.depth is None else {"depth": settings.depth}
    network = PysklCTRGCN if name == "ctrgcn" and settings.variant == "pyskl" else GRAPHS[name]
    return network(channels=channels, max_frames=settings.max_frames, **_width(settings), **depth)


def _width(settings: ModelSettings) -> dict[str, int]:
    return {} if settings.dim is None else {"width": settings.dim}


def check_baseline(settings: RunSettings, *, layout: str, dimensions: int) -> None:
    """Check that a baseline supports the data and the training objective; do nothing for other backbones.

    Args:
        settings: Settings of the run.
        layout: Name of the joint layout.
        dimensions: 2 or 3.

    Raises:
        UsageError: The objective requires attention, or the layout, dimension or clip length is not supported.
    """
    name, data = settings.model.backbone, settings.data
    if name not in NAMES:
        return
    if settings.training.objective != "cross_entropy":
        raise UsageError(
            f"model.backbone={name} has no attention to mask by: set training.objective=cross_entropy, or start from "
            f"its config, baselines/{name}"
        )
    if layout != COCO17.name or dimensions != 2:
        raise UsageError(
            f"model.backbone={name} supports only {COCO17.name} in 2D, but the file has {layout} in {dimensions}D; "
            "use COCO skeletons in 2D, or choose another backbone"
        )
    if data.num_frames == "own":
        raise UsageError(f"model.backbone={name} requires clips of one length: set data.num_frames, such as 100")
    if data.num_frames < FEWEST_FRAMES.get(name, 1):
        raise UsageError(
            f"data.num_frames={data.num_frames}: model.backbone={name} halves the number of frames and needs at least "
            f"{FEWEST_FRAMES[name]}; its config has 48"
        )

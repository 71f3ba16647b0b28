"""Backbones by name: those of MaskCLR, MAMP and PCM3, and the baselines."""

from collections.abc import Callable
from typing import Any

from pose_extraction.errors import UsageError
from recognition.backbones.base import Backbone
from recognition.backbones.baselines import NAMES, build_baseline
from recognition.backbones.dstformer import DSTFormer
from recognition.backbones.foreign_settings import refuse_foreign
from recognition.backbones.gru import build_recurrent
from recognition.backbones.segments import SEGMENT_FRAMES, SegmentTransformer
from recognition.backbones.sttformer import STTFormer, channel_plan
from recognition.backbones.transformer import Transformer
from recognition.settings import ModelSettings


def build_backbone(settings: ModelSettings, *, num_joints: int, channels: int) -> Backbone:
    """Build the backbone that the settings describe, with initial weights.

    A size that is None defaults to that of the backbone's paper: `dim` 512, `depth` 5, `heads` 8 (STTFormer 3),
    `mlp_ratio` 2 (transformer 4), `dim_representation` 512 (STTFormer: `dim`, the channels of its last block),
    `tuple_length` 3. The blocks of STTFormer widen from `dim` / 4 to `dim` (`channel_plan`). The segment transformer
    defaults to MAMP's sizes: `dim` 256, `depth` 8, `heads` 8, `mlp_ratio` 4, `segment_frames` 4. The GRU defaults to
    PCM3's sizes. For the baselines, see `baselines`.

    Args:
        settings: Name and sizes of the backbone.
        num_joints: V, number of joints of the layout that the network receives.
        channels: C, number of input channels.

    Raises:
        UsageError: The sizes are incompatible, or the backbone does not have one of them.
    """
    backbone = _BUILDERS[settings.backbone](settings, num_joints, channels)
    backbone.unseen_as_masked = settings.unseen != "embed"
    return backbone


def _build_dstformer(settings: ModelSettings, num_joints: int, channels: int) -> Backbone:
    refuse_foreign(settings, own=("attention", "motion", "mlp_ratio"))
    sizes = _token_sizes(settings, num_joints, channels, mlp_ratio=2.0)
    return DSTFormer(**sizes, attention_source=settings.attention)


def _build_transformer(settings: ModelSettings, num_joints: int, channels: int) -> Backbone:
    refuse_foreign(settings, own=("motion", "mlp_ratio"))
    return Transformer(**_token_sizes(settings, num_joints, channels, mlp_ratio=4.0))


def _token_sizes(settings: ModelSettings, num_joints: int, channels: int, *, mlp_ratio: float) -> dict[str, Any]:
    """Return the arguments shared by the two backbones with one token per joint and frame."""
    dim, heads = _width_and_heads(settings)
    return {
        "num_joints": num_joints,
        "channels": channels,
        "max_frames": settings.max_frames,
        "dim": dim,
        "depth": settings.depth or 5,
        "heads": heads,
        "mlp_ratio": settings.mlp_ratio or mlp_ratio,
        "dim_representation": settings.dim_representation or 512,
        "motion": settings.motion,
    }


def _build_sttformer(settings: ModelSettings, num_joints: int, channels: int) -> Backbone:
    refuse_foreign(settings, own=("tuple_length", "motion"))
    dim = settings.dim or 512
    if dim % 16:
        raise UsageError(f"model.dim={dim}: STTFormer needs a multiple of 16, such as {max(16, round(dim / 16) * 16)}")
    if settings.dim_representation not in (None, dim):
        raise UsageError(
            f"model.dim_representation={settings.dim_representation}: STTFormer's representation has the channels of "
            f"its last block, model.dim={dim}; leave it out or make them equal"
        )
    return STTFormer(
        num_joints=num_joints,
        channels=channels,
        max_frames=settings.max_frames,
        plan=channel_plan(dim, settings.depth or 5),
        heads=settings.heads or 3,
        tuple_length=settings.tuple_length or 3,
        motion=settings.motion,
    )


def build_segments(settings: ModelSettings, num_joints: int, channels: int) -> SegmentTransformer:
    """Build MAMP's encoder.

    Args:
        settings: Name and sizes of the backbone.
        num_joints: V, number of joints.
        channels: C, number of input channels.

    Raises:
        UsageError: See `build_backbone`.
    """
    refuse_foreign(settings, own=("segment_frames", "drop_path", "mlp_ratio", "relative"))
    dim, heads = _width_and_heads(settings, dim=256)
    if settings.dim_representation not in (None, dim):
        raise UsageError(
            f"model.dim_representation={settings.dim_representation}: the representation of segments is as wide as "
            f"model.dim={dim}; leave it out or make them equal"
        )
    backbone = SegmentTransformer(
        num_joints=num_joints,
        channels=channels,
        max_frames=settings.max_frames,
        segment_frames=settings.segment_frames or SEGMENT_FRAMES,
        dim=dim,
        depth=settings.depth or 8,
        heads=heads,
        mlp_ratio=settings.mlp_ratio or 4.0,
        drop_path=settings.drop_path,
        relative=settings.relative is True,
    )
    backbone.unseen_as_masked = settings.unseen != "embed"
    return backbone


_BUILDERS: dict[str, Callable[[ModelSettings, int, int], Backbone]] = {
    "dstformer": _build_dstformer,
    "transformer": _build_transformer,
    "sttformer": _build_sttformer,
    "segments": build_segments,
    "gru": build_recurrent,
    **{name: build_baseline for name in NAMES},
}


def _width_and_heads(settings: ModelSettings, *, dim: int = 512) -> tuple[int, int]:
    dim, heads = settings.dim or dim, settings.heads or 8
    if dim % heads:
        raise UsageError(
            f"model.dim={dim} is not divisible by model.heads={heads}: choose a multiple, such as "
            f"model.dim={max(1, round(dim / heads)) * heads}"
        )
    return dim, heads

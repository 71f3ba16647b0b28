"""Weights that MotionBERT's authors publish, put into a DSTFormer.

Their files hold the network under `model_pos` (pre-training, 3D poses) or `model` (actions, where it is the `backbone`
of a larger one), each name with DataParallel's `module.` before it. The heads for 3D poses and actions are left.
"""

import re
from pathlib import Path

import torch

from pose_extraction.checkpoints import LoadReport, apply_state_dict, load_state_dict
from pose_extraction.errors import WeightsError
from recognition.backbones.dstformer import DSTFormer

# Parts of their names and of ours, first match first; `_s` and `_t` tell the halves of a block apart.
_RENAMED = (
    (r"^joints_embed\.", "joint_embedding."),
    (r"^pos_embed$", "spatial_embedding"),
    (r"^temp_embed$", "temporal_embedding"),
    (r"^blocks_(st|ts)\.(\d+)\.(\w+)_s\.", r"streams_\1.\2.spatial.\3."),
    (r"^blocks_(st|ts)\.(\d+)\.(\w+)_t\.", r"streams_\1.\2.temporal.\3."),
    (r"\.attn\.", ".attention."),
    (r"\.mlp\.", ".feed_forward."),
    (r"^ts_attn\.", "fusions."),
    (r"^pre_logits\.fc\.", "representation."),
)
_WRAPPERS = ("module.", "backbone.")
# Settings that decide a tensor's shape beside `dim`, for the message.
_DECIDED_BY = {
    "joint_embedding.weight": "the number of input channels",
    "spatial_embedding": "the number of joints",
    "representation.weight": "model.dim_representation",
}


def load_motionbert(backbone: DSTFormer, path: Path) -> LoadReport:
    """Puts the weights of a published checkpoint into a DSTFormer of the same size, all of them or none.

    They were trained on 17 joints in Human3.6M's order, x, y and score, 243 frames.

    Args:
        backbone: The network; its mask token, which such files lack, stays as it is.
        path: A checkpoint of MotionBERT's pre-training or of its fine-tuning on actions.

    Returns:
        How many tensors were taken, which of the file were left (heads), and which of the network the file lacks.

    Raises:
        WeightsError: Damaged, hostile, not MotionBERT's, or of another size; the network is unchanged.
    """
    state = load_state_dict(path)
    names = {_unwrapped(name): name for name in state}
    if "joints_embed.weight" not in names:
        raise WeightsError(
            f"{path}: no checkpoint of MotionBERT, which holds 'joints_embed.weight' (the first here is "
            f"{next(iter(state))!r}): give --init a file of MotionBERT's or a run"
        )
    wanted = backbone.state_dict()
    renamed = {}
    for name, original in names.items():
        ours = _renamed(name)
        tensor = state[original]
        if ours in wanted and tensor.shape != wanted[ours].shape:
            raise WeightsError(
                f"{path}: {original} is {tuple(tensor.shape)} where the network has {tuple(wanted[ours].shape)}; "
                f"{_remedy(ours, tensor, wanted[ours])}"
            )
        renamed[ours] = tensor
    return apply_state_dict(backbone, renamed, source=path, ignore=("head.*", "mask_token"))


def _unwrapped(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper)
    return name


def _renamed(name: str) -> str:
    for theirs, ours in _RENAMED:
        name = re.sub(theirs, ours, name)
    return name


def _remedy(name: str, tensor: torch.Tensor, wanted: torch.Tensor) -> str:
    if name == "temporal_embedding" and tensor.shape[-1] == wanted.shape[-1]:
        return f"set model.max_frames={tensor.shape[1]} for this file, whose temporal embedding has that length"
    decided = _DECIDED_BY.get(name)
    return f"build it with the file's model.dim and model.mlp_ratio{f', and {decided}' if decided else ''}"

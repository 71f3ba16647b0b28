"""Weights that MotionBERT's authors publish, put into a DSTFormer.

Their files hold the network under `model_pos` (pre-training, 3D poses) or `model` (actions, where it is the `backbone`
of a larger one), each name with DataParallel's `module.` before it. The heads for 3D poses and actions are left.
"""

import re
from pathlib import Path
from typing import Any

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
HEADS = 8
_WRAPPERS = ("module.", "backbone.")
# What decides a tensor's shape beside `dim`, for the message.
_DECIDED_BY = {"spatial_embedding": "number of joints"}


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
    state, names = _read(path)
    wanted = backbone.state_dict()
    depth = len(backbone.streams_st)
    if (theirs := motionbert_sizes(path)["depth"]) != depth:
        raise WeightsError(f"{path}: has {theirs} blocks where the network has {depth}; set model.depth={theirs}")
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


def motionbert_sizes(path: Path) -> dict[str, Any]:
    """Settings of the network that a published checkpoint is of, read from the shapes of its tensors.

    The number of heads leaves no trace in them; both networks that are published, the full and the lite one, have 8.

    Raises:
        WeightsError: Damaged, hostile, or not MotionBERT's.
    """
    state, names = _read(path)
    shape = {name: tuple(state[original].shape) for name, original in names.items()}
    blocks = [re.match(r"blocks_st\.(\d+)\.", name) for name in names]
    try:
        width = shape["joints_embed.weight"][0]
        return {
            "dim": width,
            "depth": 1 + max(int(match[1]) for match in blocks if match),
            "heads": HEADS,
            "mlp_ratio": shape["blocks_st.0.mlp_s.fc1.weight"][0] / width,
            "dim_representation": shape["pre_logits.fc.weight"][0],
            "max_frames": shape["temp_embed"][1],
        }
    except (KeyError, IndexError, ValueError) as error:
        raise WeightsError(f"{path}: lacks tensors of MotionBERT ({error}); download it again") from error


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors, and where each one's name without wrappers is found among them."""
    state = load_state_dict(path)
    names = {_unwrapped(name): name for name in state}
    if "joints_embed.weight" not in names:
        raise WeightsError(
            f"{path}: no checkpoint of MotionBERT, which holds 'joints_embed.weight' (the first here is "
            f"{next(iter(state))!r}): give --init a file of MotionBERT's or a run"
        )
    return state, names


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
    if name == "representation.weight" and tensor.shape[1] == wanted.shape[1]:
        return f"set model.dim_representation={tensor.shape[0]}"
    if name.endswith("feed_forward.fc1.weight") and tensor.shape[1] == wanted.shape[1]:
        return f"set model.mlp_ratio={tensor.shape[0] / tensor.shape[1]:g}"
    decided = _DECIDED_BY.get(name)
    if decided is not None and tensor.shape[-1] == wanted.shape[-1]:
        return f"it was trained with another {decided}"
    if name == "joint_embedding.weight" or name.endswith("_embedding"):
        return f"set model.dim={tensor.shape[0] if name.startswith('joint_') else tensor.shape[-1]}"
    return "leave the model to the file with model=auto"

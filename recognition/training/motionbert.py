"""Loads the weights that MotionBERT's authors publish into a DSTFormer.

Their files store the network under `model_pos` (pre-training, 3D poses) or `model` (actions, where it is the `backbone`
of a larger network). Each name starts with `module.`, added by DataParallel. The heads for 3D poses and actions are
ignored.
"""

import re
from pathlib import Path
from typing import Any

import torch

from pose_extraction.engines.checkpoints import LoadReport, apply_state_dict, load_state_dict
from pose_extraction.errors import WeightsError
from recognition.backbones.dstformer import DSTFormer

# Parts of their names and the corresponding parts of ours, applied in this order; `_s` and `_t` are the two halves of a
# block.
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
# Quantities other than `dim` that determine the shape of a tensor, for the message.
_DECIDED_BY = {"spatial_embedding": "number of joints"}


def load_motionbert(backbone: DSTFormer, path: Path) -> LoadReport:
    """Load the weights of a published checkpoint into a DSTFormer of the same size, all or none.

    The checkpoints were trained on 17 joints in Human3.6M's order, with x, y and score, and 243 frames.

    Args:
        backbone: The network. Its mask token, which these files lack, stays unchanged.
        path: A checkpoint of MotionBERT's pre-training or of its fine-tuning on actions.

    Returns:
        The number of loaded tensors, the ignored tensors of the file (heads), and the tensors that the file lacks.

    Raises:
        WeightsError: The file is damaged, unsafe, not MotionBERT's, or has another size. The network is unchanged.
    """
    state, names = _read(path)
    wanted = backbone.state_dict()
    depth = len(backbone.streams_st)
    if (theirs := motionbert_sizes(path)["depth"]) != depth:
        raise WeightsError(f"{path}: has {theirs} blocks, but the network has {depth}; set model.depth={theirs}")
    renamed = {}
    for name, original in names.items():
        ours = our_name(name)
        tensor = state[original]
        if ours in wanted and tensor.shape != wanted[ours].shape:
            raise WeightsError(
                f"{path}: {original} has shape {tuple(tensor.shape)}, but the network has {tuple(wanted[ours].shape)}; "
                f"{_remedy(ours, tensor, wanted[ours])}"
            )
        renamed[ours] = tensor
    return apply_state_dict(backbone, renamed, source=path, ignore=("head.*", "mask_token"))


def motionbert_sizes(path: Path) -> dict[str, Any]:
    """Return the model settings of a published checkpoint, derived from the shapes of its tensors.

    The number of heads cannot be derived. Both published networks, full and lite, have 8.

    Args:
        path: A published checkpoint.

    Raises:
        WeightsError: The file is damaged, unsafe, or not MotionBERT's.
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
    """Return the tensors by their original names, and the original names by the names without wrappers."""
    state = load_state_dict(path)
    names = {_unwrapped(name): name for name in state}
    if "joints_embed.weight" not in names:
        raise WeightsError(
            f"{path}: not a checkpoint of MotionBERT: it lacks 'joints_embed.weight' (its first tensor is "
            f"{next(iter(state))!r}); pass a MotionBERT file or a run to --init"
        )
    return state, names


def _unwrapped(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper)
    return name


def our_name(name: str) -> str:
    """Return our name of a tensor of MotionBERT's DSTFormer, given its name without wrappers."""
    for theirs, ours in _RENAMED:
        name = re.sub(theirs, ours, name)
    return name


def _remedy(name: str, tensor: torch.Tensor, wanted: torch.Tensor) -> str:
    if name == "temporal_embedding" and tensor.shape[-1] == wanted.shape[-1]:
        return f"set model.max_frames={tensor.shape[1]}, the length of this file's temporal embedding"
    if name == "representation.weight" and tensor.shape[1] == wanted.shape[1]:
        return f"set model.dim_representation={tensor.shape[0]}"
    if name.endswith("feed_forward.fc1.weight") and tensor.shape[1] == wanted.shape[1]:
        return f"set model.mlp_ratio={tensor.shape[0] / tensor.shape[1]:g}"
    decided = _DECIDED_BY.get(name)
    if decided is not None and tensor.shape[-1] == wanted.shape[-1]:
        return f"it was trained with a different {decided}"
    if name == "joint_embedding.weight" or name.endswith("_embedding"):
        return f"set model.dim={tensor.shape[0] if name.startswith('joint_') else tensor.shape[-1]}"
    return "set model=auto to derive the model from the file"

"""Names of ViTPose's weights in published files: those of mmpose, of the authors, and of Hugging Face's format.

Each format becomes the names of `network.ViTPose`. Weights of other data sets' experts and heads are left out.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from pose_extraction.errors import WeightsError
from pose_extraction.networks.vitpose.architecture import Architecture

State = Mapping[str, torch.Tensor]
# Number of the expert for COCO, with the 17 joints of this project, in ViTPose+.
COCO_EXPERT = 0

# Rules for each format: pattern of a name, and its name here.
_MMPOSE = (
    (r"backbone\.patch_embed\.projection\.", "patches."),
    (r"backbone\.pos_embed", "position"),
    (r"backbone\.layers\.(\d+)\.ln1\.", r"blocks.\1.norm1."),
    (r"backbone\.layers\.(\d+)\.attn\.qkv\.", r"blocks.\1.query_key_value."),
    (r"backbone\.layers\.(\d+)\.attn\.proj\.", r"blocks.\1.project."),
    (r"backbone\.layers\.(\d+)\.ln2\.", r"blocks.\1.norm2."),
    (r"backbone\.layers\.(\d+)\.ffn\.layers\.0\.0\.", r"blocks.\1.up."),
    (r"backbone\.layers\.(\d+)\.ffn\.layers\.1\.", r"blocks.\1.down."),
    (r"backbone\.ln1\.", "norm."),
    (r"head\.deconv_layers\.", "head.deconvolutions."),
    (r"head\.final_layer\.", "head.convolution."),
)
_AUTHORS = (
    (r"backbone\.patch_embed\.proj\.", "patches."),
    (r"backbone\.pos_embed", "position"),
    (r"backbone\.blocks\.(\d+)\.attn\.qkv\.", r"blocks.\1.query_key_value."),
    (r"backbone\.blocks\.(\d+)\.attn\.proj\.", r"blocks.\1.project."),
    (r"backbone\.blocks\.(\d+)\.mlp\.fc1\.", r"blocks.\1.up."),
    (r"backbone\.blocks\.(\d+)\.mlp\.fc2\.", r"blocks.\1.down."),
    (rf"backbone\.blocks\.(\d+)\.mlp\.experts\.{COCO_EXPERT}\.", r"blocks.\1.expert."),
    (r"backbone\.blocks\.(\d+)\.norm([12])\.", r"blocks.\1.norm\2."),
    (r"backbone\.last_norm\.", "norm."),
    (r"keypoint_head\.deconv_layers\.", "head.deconvolutions."),
    (r"keypoint_head\.final_layer\.", "head.convolution."),
)
_HUGGING_FACE = (
    (r"backbone\.embeddings\.patch_embeddings\.projection\.", "patches."),
    (r"backbone\.embeddings\.position_embeddings", "position"),
    (r"backbone\.encoder\.layer\.(\d+)\.attention\.attention\.(query|key|value)\.", r"blocks.\1.\2."),
    (r"backbone\.encoder\.layer\.(\d+)\.attention\.output\.dense\.", r"blocks.\1.project."),
    (r"backbone\.encoder\.layer\.(\d+)\.layernorm_before\.", r"blocks.\1.norm1."),
    (r"backbone\.encoder\.layer\.(\d+)\.layernorm_after\.", r"blocks.\1.norm2."),
    (r"backbone\.encoder\.layer\.(\d+)\.mlp\.fc1\.", r"blocks.\1.up."),
    (r"backbone\.encoder\.layer\.(\d+)\.mlp\.fc2\.", r"blocks.\1.down."),
    # The list of experts was a module of its own in earlier releases of the library that writes these files.
    (rf"backbone\.encoder\.layer\.(\d+)\.mlp\.experts\.(?:experts\.)?{COCO_EXPERT}\.", r"blocks.\1.expert."),
    (r"backbone\.layernorm\.", "norm."),
    (r"head\.deconv1\.", "head.deconvolutions.0."),
    (r"head\.batchnorm1\.", "head.deconvolutions.1."),
    (r"head\.deconv2\.", "head.deconvolutions.3."),
    (r"head\.batchnorm2\.", "head.deconvolutions.4."),
    (r"head\.conv\.", "head.convolution."),
)


@dataclass(frozen=True)
class _Format:
    """Names in one kind of file.

    Args:
        sign: A name that only this kind of file has.
        rules: Pattern of the start of a name, and what replaces it.
        ignored: Pattern of names that are left out: other experts, heads for other data sets, a class token that no
            layer reads, and the normalisation.
        adds_class_position: Whether the position of the class token, if there is one, is added to all others. In the
            authors' network it is; mmpose leaves it out.
    """

    sign: str
    rules: tuple[tuple[str, str], ...]
    ignored: str
    adds_class_position: bool = True


_FORMATS = (
    _Format(
        "backbone.patch_embed.projection.weight",
        _MMPOSE,
        r"data_preprocessor\.|backbone\.cls_token",
        adds_class_position=False,
    ),
    _Format(
        "backbone.patch_embed.proj.weight",
        _AUTHORS,
        r"associate_keypoint_heads\.|backbone\.cls_token|backbone\.blocks\.\d+\.mlp\.experts\.",
    ),
    _Format(
        "backbone.embeddings.patch_embeddings.projection.weight",
        _HUGGING_FACE,
        r"backbone\.encoder\.layer\.\d+\.mlp\.experts\.",
    ),
)


def with_own_names(
    state: State, architecture: Architecture, source: Path | str
) -> tuple[dict[str, torch.Tensor], Architecture]:
    """Translate the weights of a published file to the names of `network.ViTPose`.

    Args:
        state: Weights by name: those of mmpose 1.x, of the authors' repository, or of Hugging Face's format.
        architecture: Sizes of the network.
        source: The file, for messages.

    Returns:
        The weights, and the sizes with the length of the expert's part in this file.

    Raises:
        WeightsError: The weights are in none of these formats, or one of them has an unknown name.
    """
    kind = next((one for one in _FORMATS if one.sign in state), None)
    if kind is None:
        raise WeightsError(
            f"{source}: contains no ViTPose as written by mmpose, by the authors or in Hugging Face's format (the "
            f"first of its {len(state)} names is {next(iter(state), '')!r}); select the network of this file"
        )
    named: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        own = _renamed(name, kind.rules)
        if own is not None:
            named[own] = tensor
        elif re.match(kind.ignored, name) is None:
            raise WeightsError(
                f"{source}: {name!r} belongs to no layer of ViTPose; the file is of another network, or newer than "
                "this version of skelpipe"
            )
    _join_projections(named)
    position, tokens = named.get("position"), math.prod(architecture.grid)
    if position is not None and position.ndim == 3 and position.shape[1] == tokens + 1:
        # Both positions are constants, so they are added once, here, instead of in each step.
        named["position"] = position[:, 1:] + (position[:, :1] if kind.adds_class_position else 0)
    expert = named.get("blocks.0.expert.weight")
    return named, replace(architecture, expert_dim=0 if expert is None else len(expert))


def _renamed(name: str, rules: tuple[tuple[str, str], ...]) -> str | None:
    for pattern, replacement in rules:
        match = re.match(pattern, name)
        if match is not None:
            return match.expand(replacement) + name[match.end() :]
    return None


def _join_projections(named: dict[str, torch.Tensor]) -> None:
    """Replace the separate projections to queries, keys and values of each block by one, as this network has it."""
    for first in [name for name in named if re.fullmatch(r"blocks\.\d+\.query\..*", name)]:
        block, _, kind = first.partition(".query.")
        names = [f"{block}.{part}.{kind}" for part in ("query", "key", "value")]
        if all(name in named for name in names):
            named[f"{block}.query_key_value.{kind}"] = torch.cat([named.pop(name) for name in names])

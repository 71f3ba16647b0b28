"""ViTPose in plain torch: a vision transformer on a crop, and a head that turns its tokens into heat maps."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from pose_extraction.networks.vitpose.architecture import PATCH, Architecture

# Pixels of zeros around the crop. With them the token grid is unchanged, but every patch begins two pixels earlier.
PADDING = 2
EPSILON = 1e-6


class Block(nn.Module):
    """Attention between all tokens, then a network on each token; both are added to their input.

    Args:
        architecture: Sizes of the network.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        dim, part = architecture.dim, architecture.expert_dim
        self.heads = architecture.heads
        self.norm1 = nn.LayerNorm(dim, EPSILON)
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.project = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim, EPSILON)
        self.up = nn.Linear(dim, 4 * dim)
        self.down = nn.Linear(4 * dim, dim - part)
        self.expert = nn.Linear(4 * dim, part) if part else None

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        tokens = tokens + self.project(self._attend(self.norm1(tokens)))
        hidden = functional.gelu(self.up(self.norm2(tokens)))
        change = self.down(hidden)
        if self.expert is not None:
            change = torch.cat((change, self.expert(hidden)), dim=-1)
        return tokens + change

    def _attend(self, tokens: torch.Tensor) -> torch.Tensor:
        persons, count, dim = tokens.shape
        parts = self.query_key_value(tokens).reshape(persons, count, 3, self.heads, dim // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(query, key, value)
        return seen.transpose(1, 2).reshape(persons, count, dim)


class SimpleHead(nn.Module):
    """From features (B, C, h, w) to heat maps (B, V, 4h, 4w): bilinear enlargement, then one convolution.

    Args:
        architecture: Sizes of the network.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(architecture.dim, architecture.joints, 3, padding=1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        features = functional.relu(features)
        return self.convolution(functional.interpolate(features, scale_factor=4.0, mode="bilinear"))


class ClassicHead(nn.Module):
    """From features (B, C, h, w) to heat maps (B, V, ...): deconvolutions that each double h and w, and a convolution.

    Args:
        architecture: Sizes of the network.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = architecture.dim
        for wanted in architecture.deconvolutions:
            layers += [
                nn.ConvTranspose2d(channels, wanted, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(wanted),
                nn.ReLU(),
            ]
            channels = wanted
        self.deconvolutions = nn.Sequential(*layers)
        self.convolution = nn.Conv2d(channels, architecture.joints, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.convolution(self.deconvolutions(features))


class ViTPose(nn.Module):
    """From normalised crops to heat maps.

    Args:
        architecture: Sizes of the network.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        rows, columns = architecture.grid
        self.grid = architecture.grid
        self.patches = nn.Conv2d(3, architecture.dim, PATCH, stride=PATCH, padding=PADDING)
        self.position = nn.Parameter(torch.zeros(1, rows * columns, architecture.dim))
        self.blocks = nn.Sequential(*(Block(architecture) for _ in range(architecture.depth)))
        self.norm = nn.LayerNorm(architecture.dim, EPSILON)
        self.head = ClassicHead(architecture) if architecture.deconvolutions else SimpleHead(architecture)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Return the heat maps (N, V, H / 4, W / 4) of normalised RGB crops (N, 3, H, W)."""
        tokens = self.patches(crops).flatten(2).transpose(1, 2)
        tokens = self.norm(self.blocks(tokens + self.position))
        return self.head(tokens.transpose(1, 2).unflatten(2, self.grid))


def build(architecture: Architecture, seed: int = 0) -> ViTPose:
    """Build a network with random weights, in evaluation mode.

    Args:
        architecture: Its sizes.
        seed: Seed of the weights. The global random state is not changed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ViTPose(architecture)
        nn.init.trunc_normal_(network.position, std=0.02)
    return network.eval().requires_grad_(False)


def build_empty(architecture: Architecture) -> ViTPose:
    """Build a network for weights that are read next, in evaluation mode. No random weights are drawn for it.

    Args:
        architecture: Its sizes.
    """
    with _WithoutRandomWeights():
        network = ViTPose(architecture)
    return network.eval().requires_grad_(False)


class _WithoutRandomWeights(TorchFunctionMode):
    """Layers that are built in this context keep the memory of their weights as it is.

    The device "meta" has the same effect, but the first network on it loads parts of torch's compiler, for seconds.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in (nn.init.kaiming_uniform_, nn.init.uniform_):
            return {"tensor": args[0] if args else None, **(kwargs or {})}["tensor"]
        return func(*args, **(kwargs or {}))

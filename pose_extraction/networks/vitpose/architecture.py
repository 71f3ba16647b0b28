"""Sizes of a ViTPose network, and its input and output format. Importing this loads no torch."""

from dataclasses import dataclass

PATCH = 16


@dataclass(frozen=True)
class Architecture:
    """Sizes of a ViTPose network (Xu et al., NeurIPS 2022; ViTPose+, TPAMI 2024).

    Args:
        input_size: (height, width) of the crop in pixels, multiples of 16.
        dim: Length of a token.
        depth: Number of transformer blocks.
        heads: Attention heads of a block.
        deconvolutions: Output channels of the deconvolutions of the classic head; empty for the simple head, which
            enlarges the tokens four times.
        expert_dim: Part of each block's output that comes from the expert for COCO in ViTPose+; 0 for ViTPose. A file
            of weights takes precedence.
        joints: Number of heat maps.
        blur_kernel: Width in cells of the Gaussian kernel that smooths heat maps before the DARK refinement.
    """

    input_size: tuple[int, int]
    dim: int
    depth: int
    heads: int
    deconvolutions: tuple[int, ...] = ()
    expert_dim: int = 0
    joints: int = 17
    blur_kernel: int = 11

    def __post_init__(self) -> None:
        height, width = self.input_size
        if height % PATCH or width % PATCH or self.dim % self.heads:
            raise ValueError(
                f"ViTPose needs an input size of multiples of {PATCH} and a dim that is a multiple of heads; got "
                f"{height} x {width}, dim {self.dim}, {self.heads} heads"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens."""
        return self.input_size[0] // PATCH, self.input_size[1] // PATCH

"""PoseConv3D: joint heat maps stacked over time, processed by a 3D convolutional network (SlowOnly).

Each person is a separate volume with 17 maps of 56 x 56 cells per frame: a Gaussian at each joint, scaled by its score.
PYSKL puts all persons of a clip into one volume. With width 32 and a linear layer to 60 classes it has 2,024,860
parameters, not counting the mask token.
"""

import torch
from torch import nn

from recognition.backbones.base import Backbone

WIDTH, BLOCKS, EXPANSION = 32, (4, 6, 3), 4
# Cells per side of a map, and the standard deviation of its Gaussians in cells.
SIDE, SIGMA = 56, 0.6


def heat_maps(x: torch.Tensor, *, side: int = SIDE, sigma: float = SIGMA) -> torch.Tensor:
    """Return heat maps (S, V, T, side, side) of joints.

    Args:
        x: float (S, T, V, 3): x and y with [-1, 1] spanning the image, and the score, 0 for unseen joints.
        side: Cells per side of a map; cell centres start half a cell from the image border.
        sigma: Standard deviation of the Gaussians in cells.
    """
    centre = (x[..., :2] + 1) * (side / 2) - 0.5
    cells = torch.arange(side, device=x.device, dtype=x.dtype)
    gauss = torch.exp(-((cells - centre[..., None]) ** 2) / (2 * sigma**2))  # (S, T, V, 2, side)
    along_x, along_y = gauss.unbind(-2)
    return torch.einsum("stvh,stvw->svthw", along_y * x[..., 2:], along_x)


class Bottleneck(nn.Module):
    """A residual bottleneck on heat maps (S, C, T, H, W): narrow, spatial convolution, widen.

    Args:
        channels: Number of input channels.
        width: Channels of the narrow part; the output has four times as many.
        stride: Spatial stride.
        time_stride: Temporal stride.
        sees_time: Whether the first convolution spans three frames.
    """

    def __init__(self, channels: int, width: int, *, stride: int, time_stride: int, sees_time: bool) -> None:
        super().__init__()
        out = EXPANSION * width
        reach = 3 if sees_time else 1
        self.narrow = convolution(channels, width, (reach, 1, 1))
        self.over_picture = convolution(width, width, (1, 3, 3), stride=(time_stride, stride, stride))
        self.widen = convolution(width, out, (1, 1, 1))
        self.down: nn.Module = nn.Identity()
        if channels != out or stride > 1:
            self.down = convolution(channels, out, (1, 1, 1), stride=(time_stride, stride, stride))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.over_picture(torch.relu(self.narrow(x))))
        return torch.relu(self.widen(y) + self.down(x))


def convolution(
    channels: int, out: int, kernel: tuple[int, int, int], *, stride: tuple[int, int, int] = (1, 1, 1)
) -> nn.Sequential:
    """A convolution with 'same' padding, followed by batch normalisation."""
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    layer = nn.Conv3d(channels, out, kernel, stride, padding, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out")
    return nn.Sequential(layer, nn.BatchNorm3d(out))


class PoseConv3D(Backbone):
    """The PoseConv3D backbone. R is the same for all joints, as its features refer to image positions, not to joints.

    Args:
        num_joints: V, number of joints, one map each.
        width: Channels of the narrow part of the first stage.
        max_frames: Longest sequence, in frames; no parameter depends on it.
    """

    plain_head = True
    knows_attention = False

    def __init__(self, *, num_joints: int, width: int = WIDTH, max_frames: int = 48) -> None:
        widths = [width * 2**stage for stage in range(len(BLOCKS))]
        super().__init__(num_joints=num_joints, max_frames=max_frames, dim=3, dim_representation=EXPANSION * widths[-1])
        self.stem = convolution(num_joints, width, (1, 7, 7))
        self.pool = nn.MaxPool3d((1, 3, 3), 1, (0, 1, 1))
        blocks: list[nn.Module] = []
        channels = width
        for stage, (own, count) in enumerate(zip(widths, BLOCKS, strict=True)):
            for number in range(count):
                begins = number == 0
                blocks.append(
                    Bottleneck(
                        channels,
                        own,
                        stride=2 if begins else 1,
                        # Time is halved once, in the last stage; the first stage processes single frames.
                        time_stride=2 if begins and stage == len(BLOCKS) - 1 else 1,
                        sees_time=stage > 0,
                    )
                )
                channels = EXPANSION * own
        self.blocks = nn.Sequential(*blocks)

    def encode(
        self,
        x: torch.Tensor,
        *,
        frame_mask: torch.Tensor | None = None,
        masked: torch.Tensor | None = None,
        return_attention: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        self.check_size(x)
        if masked is not None or return_attention:
            raise ValueError("PoseConv3D supports neither masks nor attention: train it with cross-entropy")
        frames = x.shape[1]
        x, frame_mask = self.without_padding(x, frame_mask)
        maps = heat_maps(x)
        if not torch.onnx.is_in_onnx_export():
            # With so few channels, channels-last takes 0.6 of the time. ONNX has no memory formats.
            maps = maps.contiguous(memory_format=torch.channels_last_3d)
        features = self.blocks(self.pool(torch.relu(self.stem(maps))))  # (S, C_r, T / 2, 7, 7)
        of_frames = features.mean(dim=(3, 4))
        place = torch.arange(frames, device=x.device) * of_frames.shape[2] // frames
        representation = of_frames[:, :, place].transpose(1, 2)[:, :, None].expand(-1, -1, self.num_joints, -1)
        return self.zero_padding(representation, frame_mask), None

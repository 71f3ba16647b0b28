"""What every backbone is: a sequence of one person's joints in, a representation R of every joint and frame out."""

from abc import ABC, abstractmethod

import torch
from torch import nn

# From frame to frame joints move by hundredths of the picture; this brings motion to the size of positions.
MOTION_SCALE = 10


class Backbone(nn.Module, ABC):
    """Encodes persons one by one; absent persons cost nothing.

    Args:
        num_joints: V.
        max_frames: Longest sequence that the temporal embedding covers.
        dim: C_f, width of the embedded joints F.
        dim_representation: C_r, width of R.
        motion_channels: C, when the network is also told how far each joint moved (`motion`); 0 when it is not.
    """

    # Whether a recognizer has one linear layer to the classes, and not the paper's head.
    plain_head = False
    # Whether it can tell A; without, it is neither masked by attention nor asked how much joints counted.
    knows_attention = True

    def __init__(
        self, *, num_joints: int, max_frames: int, dim: int, dim_representation: int, motion_channels: int = 0
    ) -> None:
        super().__init__()
        self.num_joints = num_joints
        self.max_frames = max_frames
        self.dim = dim
        self.dim_representation = dim_representation
        # Takes the place of an embedded joint in the masked pathway, before the positional embeddings (Fig. 2).
        self.mask_token = nn.Parameter(torch.empty(dim))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        # A layer of its own beside the joints', so that weights that were trained without motion still fit.
        self.motion_embedding = nn.Linear(motion_channels, dim, bias=False) if motion_channels else None
        # Whether it stands for joints that were not seen, too, instead of the embedding of (0, 0, 0).
        self.unseen_as_masked = False

    @abstractmethod
    def encode(
        self,
        x: torch.Tensor,
        *,
        frame_mask: torch.Tensor | None = None,
        masked: torch.Tensor | None = None,
        return_attention: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """R and, if wanted, the last block's attention scores, of S persons that are there.

        Args:
            x: float (S, T, V, C), joints as the network takes them.
            frame_mask: bool (S, T), True for the sequence's own frames; None when all are. Every sequence has at least
                one. What stands in padded frames has no influence on the others.
            masked: bool (S, T, V), True where the mask token takes the place of the embedded joint.
            return_attention: Whether A is wanted.

        Returns:
            R (S, T, V, C_r), and A (S, T, V), detached, or None: attention that each joint of each frame receives,
            mean over heads and sum over queries (eq. 2). In padded frames both are zero.

        Raises:
            ValueError: T is longer than `max_frames`, V is not `num_joints`, or A is wanted of a network without.
        """

    def forward(
        self,
        keypoint: torch.Tensor,
        *,
        person_mask: torch.Tensor | None = None,
        frame_mask: torch.Tensor | None = None,
        masked: torch.Tensor | None = None,
        return_attention: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The same for clips of M persons.

        Args:
            keypoint: float (N, M, T, V, C).
            person_mask: bool (N, M), True for a person that is there; None when all are.
            frame_mask: bool (N, T); None when all frames are the clip's.
            masked: bool (N, M, T, V).
            return_attention: Whether A is wanted.

        Returns:
            R (N, M, T, V, C_r) and A (N, M, T, V) or None; both zero for absent persons and in padded frames.
        """
        clips, persons, frames, joints, _ = keypoint.shape
        if person_mask is None:
            person_mask = torch.ones(clips, persons, dtype=torch.bool, device=keypoint.device)
        clip_of = person_mask.nonzero()[:, 0]
        packed, attention = self.encode(
            keypoint[person_mask],
            frame_mask=None if frame_mask is None else frame_mask[clip_of],
            masked=None if masked is None else masked[person_mask],
            return_attention=return_attention,
        )
        representation = packed.new_zeros(clips, persons, frames, joints, self.dim_representation)
        representation[person_mask] = packed
        if attention is None:
            return representation, None
        scores = attention.new_zeros(clips, persons, frames, joints)
        scores[person_mask] = attention
        return representation, scores

    def check_size(self, x: torch.Tensor) -> None:
        """Refuses sequences that the embeddings do not cover."""
        _, frames, joints, _ = x.shape
        if frames > self.max_frames:
            raise ValueError(
                f"a sequence of {frames} frames is longer than this network's max_frames, {self.max_frames}"
            )
        if joints != self.num_joints:
            raise ValueError(f"a sequence of {joints} joints in a network built for {self.num_joints}")

    @staticmethod
    def without_padding(x: torch.Tensor, frame_mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The joints with zeros in padded frames, and the mask, or None where there is no padding.

        Without a mask the fastest attention kernels apply. Zeros, because attention weights of zero do not silence NaN.
        """
        if frame_mask is None or bool(frame_mask.all()):
            return x, None
        return x.masked_fill(~frame_mask[:, :, None, None], 0), frame_mask

    def hidden_cells(
        self, x: torch.Tensor, masked: torch.Tensor | None, seen: torch.Tensor | None = None
    ) -> torch.Tensor | None:
        """Cells whose embedding the mask token replaces: the masked ones, and those not seen if they count as such.

        A joint that the estimator missed then looks as one that the masked pathway learned to do without. With the
        embedding of (0, 0, 0), which lies in the middle of the picture, an occluded skeleton is unlike all of training.

        Args:
            x: float (S, T, V, C), zero in all channels where a joint was not seen, and, without `seen`, nowhere else.
            masked: bool (S, T, V) or None.
            seen: bool (S, T, V), where zeros do not tell it; or None.

        Returns:
            bool (S, T, V), or None if there are none.
        """
        if not self.unseen_as_masked:
            return masked
        unseen = (x == 0).all(dim=-1) if seen is None else ~seen
        return unseen if masked is None else masked | unseen

    def with_motion(self, features: torch.Tensor, x: torch.Tensor, hidden: torch.Tensor | None) -> torch.Tensor:
        """Embedded joints (S, T, V, C_f), and with them the embedding of their motion if the network has one."""
        if self.motion_embedding is None:
            return features
        embedded: torch.Tensor = self.motion_embedding(motion(x, hidden))
        return features + embedded

    def with_mask_token(self, features: torch.Tensor, masked: torch.Tensor | None) -> torch.Tensor:
        """Embedded joints (S, T, V, C_f) with the mask token in place of those that are masked."""
        if masked is None:
            return features
        return torch.where(masked[..., None], self.mask_token.to(features.dtype), features)

    @staticmethod
    def zero_padding(values: torch.Tensor, frame_mask: torch.Tensor | None) -> torch.Tensor:
        """R (S, T, V, C_r) or A (S, T, V) with zeros in padded frames."""
        if frame_mask is None:
            return values
        return values.masked_fill(~frame_mask.view(*frame_mask.shape, *[1] * (values.dim() - 2)), 0)


def motion(x: torch.Tensor, hidden: torch.Tensor | None) -> torch.Tensor:
    """How far each joint moved since the frame before, times `MOTION_SCALE`.

    Zero in the first frame, and where the joint was not seen, or is hidden, in either of the two: where a masked joint
    was must not show in its neighbours.

    Args:
        x: float (S, T, V, C), zero in all channels where a joint was not seen, and nowhere else.
        hidden: bool (S, T, V), cells that the mask token stands for, or None.

    Returns:
        float (S, T, V, C).
    """
    known = (x != 0).any(dim=-1)
    if hidden is not None:
        known = known & ~hidden
    moved = (x[:, 1:] - x[:, :-1]) * (known[:, 1:] & known[:, :-1])[..., None]
    return MOTION_SCALE * torch.cat([torch.zeros_like(x[:, :1]), moved], dim=1)

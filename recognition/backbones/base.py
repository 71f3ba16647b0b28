"""The backbone interface: joint sequences of one person in, a representation R of every joint and frame out."""

from abc import ABC, abstractmethod

import torch
from torch import nn

# From frame to frame, joints move by hundredths of the image size; this scales motion to the range of positions.
MOTION_SCALE = 10


class Backbone(nn.Module, ABC):
    """Encodes each person separately; absent persons are not computed.

    Args:
        num_joints: V, number of joints.
        max_frames: Longest sequence that the temporal embedding covers, in frames.
        dim: C_f, width of the embedded joints F.
        dim_representation: C_r, width of R.
        motion_channels: C, if the network also receives the motion of each joint (`motion`); 0 otherwise.
    """

    # Whether a recognizer adds a single linear layer to the classes instead of the paper's head.
    plain_head = False
    # Number of consecutive frames that always have the same R. Dropout treats their copies as one value.
    frames_alike = 1
    # Whether the backbone provides A. Without it, attention-based masking and attention explanations are unavailable.
    knows_attention = True

    def __init__(
        self, *, num_joints: int, max_frames: int, dim: int, dim_representation: int, motion_channels: int = 0
    ) -> None:
        super().__init__()
        self.num_joints = num_joints
        self.max_frames = max_frames
        self.dim = dim
        self.dim_representation = dim_representation
        # Replaces an embedded joint in the masked pathway, before the positional embeddings are added (Fig. 2).
        self.mask_token = nn.Parameter(torch.empty(dim))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        # Separate from the joint embedding, so that weights trained without motion can still be loaded.
        self.motion_embedding = nn.Linear(motion_channels, dim, bias=False) if motion_channels else None
        # Whether the mask token also replaces unseen joints, instead of the embedding of (0, 0, 0).
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
        """Return R and optionally the attention scores of the last block, for S present persons.

        Args:
            x: float (S, T, V, C), joints in the network's input format.
            frame_mask: bool (S, T), True for frames of the sequence, False for padding; None if there is no padding.
                Every sequence has at least one frame. The content of padded frames does not affect the other frames.
            masked: bool (S, T, V), True where the mask token replaces the embedded joint.
            return_attention: Whether to return A.

        Returns:
            R (S, T, V, C_r), and A (S, T, V), detached, or None: the attention that each joint of each frame receives,
            averaged over heads and summed over queries (eq. 2). Both are zero in padded frames.

        Raises:
            ValueError: T exceeds `max_frames`, V is not `num_joints`, or A is requested from a network without
                attention.
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
        """Encode clips of M persons; see `encode`.

        Args:
            keypoint: float (N, M, T, V, C).
            person_mask: bool (N, M), True for persons that are present; None if all are.
            frame_mask: bool (N, T), True for frames of the clip, False for padding; None if there is no padding.
            masked: bool (N, M, T, V), True where the mask token replaces the embedded joint.
            return_attention: Whether to return A.

        Returns:
            R (N, M, T, V, C_r) and A (N, M, T, V) or None; both are zero for absent persons and in padded frames.
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
        """Refuse sequences that the embeddings do not cover.

        Args:
            x: float (S, T, V, C).

        Raises:
            ValueError: T exceeds `max_frames`, or V is not `num_joints`.
        """
        _, frames, joints, _ = x.shape
        if frames > self.max_frames:
            raise ValueError(
                f"a sequence of {frames} frames is longer than this network's max_frames, {self.max_frames}"
            )
        if joints != self.num_joints:
            raise ValueError(f"a sequence of {joints} joints in a network built for {self.num_joints}")

    @staticmethod
    def without_padding(x: torch.Tensor, frame_mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the joints with zeros in padded frames, and the mask, or None if there is no padding.

        Without a mask the fastest attention kernels apply. Zeros are needed because NaN times an attention weight of
        zero is NaN.

        Args:
            x: float (S, T, V, C).
            frame_mask: bool (S, T), True for frames of the clip, False for padding; or None.
        """
        if frame_mask is None or bool(frame_mask.all()):
            return x, None
        return x.masked_fill(~frame_mask[:, :, None, None], 0), frame_mask

    def hidden_cells(
        self, x: torch.Tensor, masked: torch.Tensor | None, seen: torch.Tensor | None = None
    ) -> torch.Tensor | None:
        """Return the cells whose embedding the mask token replaces: masked ones and, if `unseen_as_masked`, unseen
        ones.

        A joint that the pose estimator missed then looks like one that the masked pathway has learned to do without.
        With the embedding of (0, 0, 0), which lies in the centre of the image, an occluded skeleton would look unlike
        any training sample.

        Args:
            x: float (S, T, V, C), zero in all channels where a joint is unseen and, unless `seen` is given, nowhere
                else.
            masked: bool (S, T, V) or None.
            seen: bool (S, T, V), True where a joint is seen, if zeros in `x` do not indicate it; or None.

        Returns:
            bool (S, T, V), or None if no cell is replaced.
        """
        if not self.unseen_as_masked:
            return masked
        unseen = (x == 0).all(dim=-1) if seen is None else ~seen
        return unseen if masked is None else masked | unseen

    def with_motion(self, features: torch.Tensor, x: torch.Tensor, hidden: torch.Tensor | None) -> torch.Tensor:
        """Return embedded joints (S, T, V, C_f), plus the embedding of their motion if the network has one."""
        if self.motion_embedding is None:
            return features
        embedded: torch.Tensor = self.motion_embedding(motion(x, hidden))
        return features + embedded

    def with_mask_token(self, features: torch.Tensor, masked: torch.Tensor | None) -> torch.Tensor:
        """Return embedded joints (S, T, V, C_f) with the mask token in place of masked ones."""
        if masked is None:
            return features
        return torch.where(masked[..., None], self.mask_token.to(features.dtype), features)

    @staticmethod
    def zero_padding(values: torch.Tensor, frame_mask: torch.Tensor | None) -> torch.Tensor:
        """Return R (S, T, V, C_r) or A (S, T, V) with zeros in padded frames."""
        if frame_mask is None:
            return values
        return values.masked_fill(~frame_mask.view(*frame_mask.shape, *[1] * (values.dim() - 2)), 0)


def motion(x: torch.Tensor, hidden: torch.Tensor | None) -> torch.Tensor:
    """Return the displacement of each joint since the previous frame, times `MOTION_SCALE`.

    It is zero in the first frame, and where the joint is unseen or hidden in either of the two frames: the position of
    a masked joint must not leak into its neighbouring frames.

    Args:
        x: float (S, T, V, C), zero in all channels where a joint is unseen, and nowhere else.
        hidden: bool (S, T, V), cells that the mask token replaces, or None.

    Returns:
        float (S, T, V, C).
    """
    known = (x != 0).any(dim=-1)
    if hidden is not None:
        known = known & ~hidden
    moved = (x[:, 1:] - x[:, :-1]) * (known[:, 1:] & known[:, :-1])[..., None]
    return MOTION_SCALE * torch.cat([torch.zeros_like(x[:, :1]), moved], dim=1)

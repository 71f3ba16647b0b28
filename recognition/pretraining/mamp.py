"""Masked motion prediction (MAMP): a transformer sees a tenth of a sequence and predicts how the rest moves.

Follows Fig. 2: embed segments, choose what to keep by the motion, encode that, decode with mask tokens in the gaps,
predict the motion there. With the target "joint" and masks at random it is SkeletonMAE, as the paper compares with.
"""

from dataclasses import dataclass

import torch
from torch import nn

from recognition.backbones.layers import embedding
from recognition.backbones.segments import EPSILON, Block, SegmentTransformer, begin_xavier
from recognition.batches import Batch
from recognition.gathering import find_shares, gather
from recognition.masking import gumbel_noise
from recognition.pretraining.motion import as_motion, motion_intensity, motion_of, segments_of
from recognition.pretraining.settings import MAMPSettings

# Added to a target's variance, as in MAE.
VARIANCE_EPSILON = 1e-6


@dataclass(frozen=True)
class MAMPLosses:
    """What a step gives; only `total` carries a gradient.

    Args:
        total: Scalar, eq. 11 over the clips of all processes.
        clips: Scalar, number of these clips.
    """

    total: torch.Tensor
    clips: torch.Tensor


class Decoder(nn.Module):
    """Vanilla transformer blocks over all tokens, with mask tokens where nothing was encoded (eq. 9 and 10).

    Args:
        num_joints: V.
        num_segments: T_e.
        encoder_dim: C_e.
        dim: C_d.
        depth: L_d.
        heads: h.
        mlp_ratio: Width of the feed-forward networks over `dim`.
        values: Numbers to predict for each token, l * D.
    """

    def __init__(
        self,
        *,
        num_joints: int,
        num_segments: int,
        encoder_dim: int,
        dim: int,
        depth: int,
        heads: int,
        mlp_ratio: float,
        values: int,
    ) -> None:
        super().__init__()
        self.embed = nn.Linear(encoder_dim, dim)
        self.mask_token = nn.Parameter(torch.empty(dim))
        self.spatial_embedding = embedding(1, 1, num_joints, dim)
        self.temporal_embedding = embedding(1, num_segments, 1, dim)
        self.blocks = nn.ModuleList(Block(dim, heads, int(dim * mlp_ratio)) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=EPSILON)
        self.predict = nn.Linear(dim, values)
        self.apply(begin_xavier)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(self, latent: torch.Tensor, kept: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """Predictions for hidden tokens.

        Args:
            latent: float (S, K, C_e), H_e^u.
            kept: int64 (S, K), places of these among all tokens.
            hidden: int64 (S, H), places to predict.

        Returns:
            float (S, H, l * D).
        """
        features = self.embed(latent)
        places = (self.spatial_embedding + self.temporal_embedding).flatten(1, 2)  # (1, L, C_d)
        tokens = self.mask_token.to(features.dtype).expand(len(latent), places.shape[1], -1)
        tokens = tokens.scatter(1, kept[..., None].expand(-1, -1, features.shape[2]), features) + places
        *before, last = self.blocks
        for block in before:
            tokens, _ = block(tokens)
        tokens, _ = last(tokens, places=hidden)
        return self.predict(self.norm(tokens))


class MAMP(nn.Module):
    """A backbone in pre-training.

    Args:
        encoder: What is kept afterwards.
        settings: The paper's choices, and those that it ablates.
        dimensions: D, coordinates of a joint; further channels, such as scores, are seen but not predicted.
        heads: Of the decoder's blocks.
        mlp_ratio: Of the decoder's blocks.
        seed: Of the masks.
    """

    def __init__(
        self,
        encoder: SegmentTransformer,
        settings: MAMPSettings,
        *,
        dimensions: int,
        heads: int = 8,
        mlp_ratio: float = 4.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.settings = settings
        self.dimensions = dimensions
        self.seed = seed
        self.decoder = Decoder(
            num_joints=encoder.num_joints,
            num_segments=encoder.temporal_embedding.shape[1],
            encoder_dim=encoder.dim,
            dim=settings.decoder_dim or encoder.dim,
            depth=settings.decoder_depth,
            heads=heads,
            mlp_ratio=mlp_ratio,
            values=encoder.segment_frames * dimensions,
        )

    def forward(self, batch: Batch, *, epoch: int) -> MAMPLosses:
        """The loss of a batch.

        Args:
            batch: This process's clips, all of `max_frames` frames.
            epoch: Number of the epoch, which the masks depend on.
        """
        clip, person = batch.person_mask.nonzero().unbind(1)
        x = batch.keypoint[batch.person_mask]  # (S, T, V, C)
        coordinates, seen = x[..., : self.dimensions], (x != 0).any(dim=-1)
        kept, hidden = self.choose(coordinates, seen, batch.index[clip], person, epoch=epoch)
        predicted = self._predict(x, seen, kept, hidden)
        with torch.autocast(x.device.type, enabled=False):
            target, weight = self._target(coordinates, seen)
            loss, count = masked_squares(
                predicted.to(target.dtype),
                target.gather(1, _each(hidden, target)),
                weight.gather(1, _each(hidden, weight)),
            )
            parts = loss.new_zeros(len(batch), 2).index_add(0, clip, torch.stack([loss, count.to(loss.dtype)], 1))
            shares = find_shares(len(batch), x.device)
            total, tokens = gather(parts, shares).sum(0).unbind()
            # DDP waits for a gradient of every parameter, and where all joints are seen this one has no other.
            unused = 0 * self.encoder.mask_token.sum()
            return MAMPLosses(total / tokens.clamp_min(1) + unused, total.new_tensor(sum(shares.sizes)))

    def choose(
        self, coordinates: torch.Tensor, seen: torch.Tensor, clip: torch.Tensor, person: torch.Tensor, *, epoch: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Which tokens are encoded, and which are hidden (section 3.4), int64 (S, K) and (S, L - K), each rising.

        As in the published code, the intensity is divided by its maximum before the temperature applies; eq. 5 leaves
        the unit of length to decide how much motion counts.
        """
        encoder, settings = self.encoder, self.settings
        frames, joints = coordinates.shape[1:3]
        parts = frames // encoder.segment_frames
        noise = gumbel_noise(clip, person, parts, joints, seed=self.seed, epoch=epoch).flatten(1)
        if settings.masking == "motion":
            intensity = motion_intensity(coordinates, seen, encoder.segment_frames).flatten(1).to(noise.dtype)
            largest = intensity.amax(1, keepdim=True).clamp_min(torch.finfo(noise.dtype).tiny)
            noise = noise + intensity / (largest * settings.temperature)
        order = noise.argsort(dim=1, descending=True, stable=True)
        keep = kept_tokens(parts * joints, settings.ratio)
        hidden, kept = order.split([parts * joints - keep, keep], dim=1)
        return kept.sort(dim=1).values, hidden.sort(dim=1).values

    def _predict(
        self,
        x: torch.Tensor,
        seen: torch.Tensor,
        kept: torch.Tensor,
        hidden: torch.Tensor,
    ) -> torch.Tensor:
        if self.settings.input == "motion":
            x, seen = as_motion(x, seen, dimensions=self.dimensions)
        tokens = self.encoder.embed(x, seen=seen).flatten(1, 2)  # (S, L, C_e)
        latent, _ = self.encoder.through_blocks(tokens.gather(1, _each(kept, tokens)))
        return self.decoder(latent, kept, hidden)

    def _target(self, coordinates: torch.Tensor, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What all tokens should say, (S, L, l * D), and the weight, 0 or 1, of each number."""
        values, known = coordinates, seen
        if self.settings.target == "motion":
            values, known = motion_of(coordinates, seen, stride=self.settings.motion_stride, padding="zeros")
        length = self.encoder.segment_frames
        target = segments_of(values, length).flatten(1, 2)
        weight = segments_of(known[..., None].expand_as(values).to(values.dtype), length).flatten(1, 2)
        return (normalise(target, weight) if self.settings.normalise else target), weight


def kept_tokens(tokens: int, ratio: float) -> int:
    """Tokens that are not masked; 74 of 750 at 0.9, as published, since 1 - 0.9 is below 0.1 in floating point."""
    return max(1, int(tokens * (1 - ratio)))


def normalise(target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Each token's target less its mean, over its deviation; only what is known counts.

    Args:
        target: float (S, L, K).
        weight: float (S, L, K), 1 where the target is known, else 0.
    """
    count = weight.sum(-1, keepdim=True)
    mean = (target * weight).sum(-1, keepdim=True) / count.clamp_min(1)
    centred = (target - mean) * weight
    variance = centred.square().sum(-1, keepdim=True) / (count - 1).clamp_min(1)
    return centred / (variance + VARIANCE_EPSILON).sqrt()


def masked_squares(
    predicted: torch.Tensor, target: torch.Tensor, weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The squared error of each hidden token, a mean over its known numbers, summed up over each sequence's tokens.

    Eq. 11 sums over a token's numbers; the published code takes the mean, which only scales the loss.

    Returns:
        float (S,) the sums, and int64 (S,) how many tokens they are of: those of which anything is known.
    """
    count = weight.sum(-1)
    token = ((predicted - target).square() * weight).sum(-1) / count.clamp_min(1)
    return token.sum(1), (count > 0).sum(1)


def _each(places: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Places of tokens (S, K) as an index for all their channels."""
    return places[..., None].expand(-1, -1, values.shape[2])

"""Masked motion prediction (MAMP): a transformer sees a tenth of a sequence and predicts the motion of the rest.

Follows Fig. 2: embed segments, choose the visible ones by motion, encode them, decode with mask tokens in the gaps,
    predict the motion there. With target "joint" and random masks it is SkeletonMAE, the paper's comparison.
"""

from dataclasses import dataclass

import torch
from torch import nn

from recognition.backbones.layers import embedding
from recognition.backbones.segments import EPSILON, Block, SegmentTransformer, begin_xavier
from recognition.data.batches import Batch
from recognition.distributed import find_shares, gather
from recognition.keyed_noise import gumbel_noise
from recognition.pretraining.motion import as_motion, motion_intensity, motion_of, segments_of
from recognition.pretraining.settings import MAMPSettings

# Added to a target's variance, as in MAE.
VARIANCE_EPSILON = 1e-6


@dataclass(frozen=True)
class MAMPLosses:
    """Losses of a step; only `total` carries a gradient.

    Args:
        total: Scalar, eq. 11 over the clips of all processes.
        clips: Scalar, number of these clips.
    """

    total: torch.Tensor
    clips: torch.Tensor


class Decoder(nn.Module):
    """Vanilla transformer blocks over all tokens, with mask tokens for those that were not encoded (eq. 9 and 10).

    Args:
        num_joints: V, number of joints.
        num_segments: T_e, number of segments.
        encoder_dim: C_e, width of the encoder.
        dim: C_d, width of the decoder.
        depth: L_d, number of blocks.
        heads: h, number of attention heads.
        mlp_ratio: Ratio of the feed-forward networks' width to `dim`.
        values: Number of values to predict per token, l * D.
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
        """Return predictions for the hidden tokens.

        Args:
            latent: float (S, K, C_e), H_e^u.
            kept: int64 (S, K), indices of these among all tokens.
            hidden: int64 (S, H), indices of the tokens to predict.

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
    """The MAMP objective around an encoder.

    Args:
        encoder: The encoder to pre-train.
        settings: The paper's hyper-parameters, and those that it ablates.
        dimensions: D, coordinates per joint; further channels, such as scores, are inputs but are not predicted.
        heads: Attention heads of the decoder's blocks.
        mlp_ratio: Ratio of feed-forward width to width of the decoder's blocks.
        seed: Seed of the masks.
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
        """Compute the loss of a batch.

        Args:
            batch: This process's clips, all of `max_frames` frames.
            epoch: Number of the epoch; the masks depend on it.
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
            # DDP requires a gradient for every parameter; this one has no other if all joints are seen.
            unused = 0 * self.encoder.mask_token.sum()
            return MAMPLosses(total / tokens.clamp_min(1) + unused, total.new_tensor(sum(shares.sizes)))

    def choose(
        self, coordinates: torch.Tensor, seen: torch.Tensor, clip: torch.Tensor, person: torch.Tensor, *, epoch: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Choose the tokens to encode and to hide (section 3.4): int64 (S, K) and (S, L - K), each increasing.

        As in the published code, the intensity is divided by its maximum before the temperature is applied; with eq. 5
        alone, the effect of motion would depend on the unit of length.

        Args:
            coordinates: float (S, T, V, D).
            seen: bool (S, T, V).
            clip: int64 (S,), index of the clip.
            person: int64 (S,), index of the person.
            epoch: Number of the epoch.
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
        """Return the targets of all tokens, (S, L, l * D), and the weight, 0 or 1, of each value."""
        values, known = coordinates, seen
        if self.settings.target == "motion":
            values, known = motion_of(coordinates, seen, stride=self.settings.motion_stride)
        length = self.encoder.segment_frames
        target = segments_of(values, length).flatten(1, 2)
        weight = segments_of(known[..., None].expand_as(values).to(values.dtype), length).flatten(1, 2)
        return (normalise(target, weight) if self.settings.normalise else target), weight


def kept_tokens(tokens: int, ratio: float) -> int:
    """Return the number of unmasked tokens; 74 of 750 at 0.9, as published."""
    return max(1, int(tokens * (1 - ratio)))


def normalise(target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Standardise each token's target by its mean and deviation over the known values.

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
    """Return the squared error of the hidden tokens, averaged over each token's known values and summed per sequence.

    Eq. 11 sums over a token's values; the published code averages, which only scales the loss.

    Args:
        predicted: float (S, H, K).
        target: float (S, H, K).
        weight: float (S, H, K), 1 where the target is known, else 0.

    Returns:
        float (S,), the sums, and int64 (S,), the number of tokens with at least one known value.
    """
    count = weight.sum(-1)
    token = ((predicted - target).square() * weight).sum(-1) / count.clamp_min(1)
    return token.sum(1), (count > 0).sum(1)


def _each(places: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Expand token indices (S, K) to all channels."""
    return places[..., None].expand(-1, -1, values.shape[2])

"""Prompted contrast with masked motion modelling (PCM3): two tasks that benefit each other (section 3).

Follows Fig. 2. Of three views of a clip, one is the query, one the key, and one is masked and predicted. The query, its
mixture with another clip, the masked view and the predicted view are contrasted with the key. Prompts indicate the view
to the encoder and the task to the decoder and the projector; they are used only in pre-training.
"""

import copy
from dataclasses import dataclass
from math import sqrt

import torch
from torch import nn
from torch.nn import functional

from recognition.backbones.gru import GRUEncoder
from recognition.data.batches import Batch
from recognition.distributed import find_shares, gather
from recognition.pretraining.gru_decoder import GRUDecoder, Projector
from recognition.pretraining.momentum import KeyQueue, follow
from recognition.pretraining.settings import PCM3Settings
from recognition.pretraining.streams import to_stream
from recognition.pretraining.views import VIEWS, draw_mixture, draw_visible, mix

VIEW_NAMES = ("intra", "inter", "mask", "predict")


@dataclass(frozen=True)
class PCM3Losses:
    """Losses of a step over the clips of all processes; only `total` carries a gradient.

    Args:
        total: Scalar, eq. 7.
        contrast: Scalar, L_Con.
        distillation: Scalar, L_KL.
        prediction: Scalar, L_Mask.
        clips: Scalar, number of clips.
    """

    total: torch.Tensor
    contrast: torch.Tensor
    distillation: torch.Tensor
    prediction: torch.Tensor
    clips: torch.Tensor


class PCM3(nn.Module):
    """The PCM3 objective around an encoder.

    Args:
        encoder: The encoder to pre-train.
        settings: The paper's hyper-parameters, and those that it ablates.
        max_persons: M, persons per clip.
        num_joints: V, number of joints.
        channels: C, number of input channels.
        dimensions: D, number of coordinate channels; scores are inputs but are not predicted.
        parts: Joint indices of each body part.
        parents: int64 (V,), see `bone_parents`; used by the bone stream.
    """

    parents: torch.Tensor

    def __init__(
        self,
        encoder: GRUEncoder,
        settings: PCM3Settings,
        *,
        max_persons: int,
        num_joints: int,
        channels: int,
        dimensions: int,
        parts: tuple[tuple[int, ...], ...],
        parents: torch.Tensor,
    ) -> None:
        super().__init__()
        values = max_persons * num_joints * channels
        self.settings = settings
        self.max_persons = max_persons
        self.dimensions = dimensions
        self.parts = parts
        self.encoder = encoder
        self.projector = Projector(encoder.width, settings.embedding)
        self.decoder = GRUDecoder(encoder.width, settings.decoder_hidden, max_persons * num_joints * dimensions)
        self.key_encoder, self.key_projector = copy.deepcopy(encoder), copy.deepcopy(self.projector)
        for parameter in (*self.key_encoder.parameters(), *self.key_projector.parameters()):
            parameter.requires_grad_(False)
        size = min(settings.prompt_size, encoder.width // 2)
        # Xavier's limits for the published shapes: (1, 1, values), and (1, 2 * size).
        domain, task = sqrt(3 / values), sqrt(6 / (2 * size + 1))
        if settings.prompt_start == "zeros":
            domain = task = 0
        self.domain_prompts = nn.ParameterDict({name: _uniform(values, domain) for name in VIEW_NAMES})
        self.task_prompts = nn.ParameterDict({name: _uniform(2 * size, task) for name in ("contrast", "predict")})
        self.queue = KeyQueue(settings.queue, settings.embedding)
        self.register_buffer("parents", parents, persistent=False)

    def forward(self, batch: Batch, *, epoch: int) -> PCM3Losses:
        """Compute the losses of a batch, and add its keys to the queue.

        Args:
            batch: This process's clips from `ViewDataset`.
            epoch: Number of the epoch; unused.
        """
        views = batch.keypoint.unflatten(2, (VIEWS, -1))
        query, key, whole = (self._stream(views[:, :, view]) for view in range(VIEWS))
        settings, wanted = self.settings, self.settings.positives
        frames, joints = query.shape[2], query.shape[3]
        mixture = draw_mixture(frames, joints, self.parts)
        visible = draw_visible(
            frames,
            joints,
            self.parts,
            strategy=settings.masking,
            ratio=settings.ratio,
            chunk=settings.mask_frames,
        ).to(query.device)
        # (M, T, V, 1): the second person is never masked.
        kept = torch.cat([visible[None], visible.new_ones(self.max_persons - 1, frames, joints)])[..., None]
        given = {"intra": query, "inter": mix(query, mixture), "mask": whole * kept}
        predicts = "predict" in wanted or settings.prediction > 0
        encoded = [name for name in given if name in wanted or (name == "mask" and predicts)]
        # Batch statistics are computed per view; the recurrence then processes all views at once.
        normed = [self._normalised(self.encoder, given[name], name) for name in encoded]
        features = dict(zip(encoded, self.encoder.recur(torch.cat(normed)).split(len(batch)), strict=True))
        prediction = query.new_zeros(())
        if predicts:
            tasked = self._tasked(features["mask"], "predict")
            decoded = self.decoder(tasked)
            prediction = self._prediction_loss(decoded, whole, ~kept)
            if "predict" in wanted:
                # The gradient of this view's contrastive loss reaches the decoder, but nothing before it.
                again = self.decoder(tasked.detach()) if settings.guidance else decoded.detach()
                filled = self._normalised(self.encoder, self._filled(whole, again, kept), "predict")
                features["predict"] = self.encoder.recur(filled)
        contrast, distillation, clips = self._contrast(features, key, mixture.share)
        with torch.autocast(query.device.type, enabled=False):
            unused = 0 * sum(prompt.sum() for prompt in (*self.domain_prompts.values(), *self.task_prompts.values()))
            total = contrast + settings.distillation * distillation + settings.prediction * prediction + unused
        return PCM3Losses(total, contrast.detach(), distillation.detach(), prediction.detach(), clips)

    def _stream(self, keypoint: torch.Tensor) -> torch.Tensor:
        return to_stream(keypoint, self.settings.stream, dimensions=self.dimensions, parents=self.parents)

    def _normalised(self, encoder: GRUEncoder, keypoint: torch.Tensor, domain: str) -> torch.Tensor:
        """Flatten joints (N, M, T, V, C) frame by frame, normalise them by batch, and add the domain prompt (eq. 6).

        As published, the prompt comes first, but then the normalisation subtracts it with the mean of the batch.
        """
        x, settings = flatten_frames(keypoint), self.settings
        if not settings.domain_prompts:
            return encoder.normalise(x)
        prompt = self.domain_prompts[domain]
        if settings.domain_prompt_place == "published":
            return encoder.normalise(x + prompt)
        return encoder.normalise(x) + prompt

    def _tasked(self, features: torch.Tensor, task: str) -> torch.Tensor:
        """Add the task prompt to some consecutive channels of features (..., 2H), the same in both halves.

        The first channel is drawn for every use, from torch's generator.
        """
        if not self.settings.task_prompts:
            return features
        prompt = self.task_prompts[task]
        half, size = features.shape[-1] // 2, len(prompt) // 2
        start = int(torch.randint(half - size + 1, ()))
        added = functional.pad(prompt.view(2, size), (start, half - size - start)).flatten()
        return features + added

    def _unflatten(self, values: torch.Tensor) -> torch.Tensor:
        """Reshape decoded frames (N, T, V * D * M) to joint coordinates (N, M, T, V, D)."""
        return values.unflatten(2, (-1, self.dimensions, self.max_persons)).permute(0, 4, 1, 2, 3)

    def _filled(self, whole: torch.Tensor, decoded: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """Return the predicted view (N, M, T, V, C): decoded coordinates for masked joints, the clip's own scores."""
        place, rest = whole.split([self.dimensions, whole.shape[-1] - self.dimensions], dim=-1)
        return torch.cat([torch.where(kept, place, self._unflatten(decoded.to(whole.dtype))), rest], dim=-1)

    def _prediction_loss(self, decoded: torch.Tensor, whole: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """Return L_Mask: mean squared error over the masked and known coordinates (eq. 4)."""
        with torch.autocast(whole.device.type, enabled=False):
            place = whole[..., : self.dimensions]
            counted = hidden.expand_as(place)
            if whole.shape[-1] > self.dimensions:
                # In 2D a joint may be unseen; it then has no target.
                counted = counted & (whole != 0).any(dim=-1, keepdim=True)
            error = (self._unflatten(decoded.to(whole.dtype)) - place).square() * counted
            parts = torch.stack([error.sum((1, 2, 3, 4)), counted.sum((1, 2, 3, 4)).to(error.dtype)], 1)
            total, count = gather(parts, find_shares(len(parts), parts.device)).sum(0).unbind()
            return total / count.clamp_min(1)

    def _contrast(
        self, features: dict[str, torch.Tensor], key: torch.Tensor, share: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return L_Con and L_KL summed over all chosen pairs, and the number of clips that they are averaged over."""
        settings = self.settings
        shares = find_shares(len(key), key.device)
        clips = key.new_tensor(sum(shares.sizes))
        if not settings.positives:
            return key.new_zeros(()), key.new_zeros(()), clips
        if self.training:
            follow(self.key_encoder, self.encoder, settings.momentum)
            follow(self.key_projector, self.projector, settings.momentum)
        with torch.no_grad():
            encoded = self.key_encoder.recur(self._normalised(self.key_encoder, key, "intra"))[:, -1]
            k = _direction(self.key_projector(self._tasked(encoded, "contrast")))
            mixed = _direction((1 - share) * k + share * k.roll(1, dims=0))
        terms = []
        # A copy, since the backward pass needs the keys from before the update.
        queue = self.queue.keys.clone()
        for name in settings.positives:
            q = _direction(self.projector(self._tasked(features[name][:, -1], "contrast")))
            with torch.autocast(key.device.type, enabled=False):
                terms.append(
                    torch.stack(
                        [
                            info_nce(q, mixed if name == "inter" else k, queue, settings.temperature),
                            relation_distance(
                                q,
                                mixed if name == "inter" else k,
                                queue,
                                query_temperature=settings.query_temperature,
                                key_temperature=settings.key_temperature,
                            ),
                        ],
                        1,
                    )
                )
        with torch.autocast(key.device.type, enabled=False):
            contrast, distillation = gather(torch.stack(terms).sum(0), shares).mean(0).unbind()
            if self.training:
                self.queue.put(gather(k, shares))
        return contrast, distillation, clips


def flatten_frames(keypoint: torch.Tensor) -> torch.Tensor:
    """Flatten joints (N, M, T, V, C) frame by frame, (N, T, V * C * M)."""
    return keypoint.permute(0, 2, 3, 4, 1).flatten(2)


def info_nce(query: torch.Tensor, key: torch.Tensor, queue: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return eq. 1 for each clip, (N,), given unit vectors (N, E) and the queue (Q, E) as negatives."""
    positive = (query * key).sum(1, keepdim=True)
    logits = torch.cat([positive, query @ queue.to(query.dtype).T], 1) / temperature
    return logits.logsumexp(1) - logits[:, 0]


def relation_distance(
    query: torch.Tensor,
    key: torch.Tensor,
    queue: torch.Tensor,
    *,
    query_temperature: float,
    key_temperature: float,
) -> torch.Tensor:
    """Return the KL divergence of the query's similarities to the queue from the key's, for each clip, (N,).

    Eq. 3 is the cross-entropy, which has the same gradient but not a minimum of 0.

    Args:
        query: (N, E), unit vectors.
        key: (N, E), unit vectors.
        queue: (Q, E), unit vectors.
        query_temperature: tau_q, above 0.
        key_temperature: tau_k, above 0.
    """
    anchors = queue.to(query.dtype).T
    of_query = (query @ anchors / query_temperature).log_softmax(1)
    of_key = (key @ anchors / key_temperature).log_softmax(1)
    return (of_key.exp() * (of_key - of_query)).sum(1)


def _uniform(size: int, limit: float) -> torch.Tensor:
    """Draw a prompt from U(-limit, limit)."""
    return torch.empty(size).uniform_(-limit, limit)


def _direction(values: torch.Tensor) -> torch.Tensor:
    """Normalise to unit length, in float32 or higher precision."""
    precise = torch.promote_types(values.dtype, torch.float32)
    return functional.normalize(values.to(precise), dim=1)

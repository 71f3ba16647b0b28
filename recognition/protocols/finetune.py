"""Fine-tuning for measurements: encoder and classifier together, on all labels or a few, from its weights or none.

`skelpipe train --init` makes recognizers to keep; this gives both methods the recipes that their numbers come from.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset

from recognition.backbones.segments import DropPath, SegmentTransformer
from recognition.batches import Batch
from recognition.batching import ClipBatches, make_loader
from recognition.dataset import Sample, SkeletonDataset
from recognition.pretraining.encoder import Encoder
from recognition.pretraining.schedule import learning_rate
from recognition.pretraining.settings import PretrainingLoop
from recognition.protocols.linear import DEVIATION, EPSILON
from recognition.protocols.settings import FinetuneSettings
from recognition.recognizer import Recognizer


class Classifier(nn.Module):
    """An encoder with the head of its paper: MAMP's recognizer, or a linear layer on PCM3's last frame.

    Args:
        encoder: Becomes a part of it.
        num_classes: K.
        settings: Of the head, and of stochastic depth.
    """

    def __init__(self, encoder: Encoder, num_classes: int, settings: FinetuneSettings) -> None:
        super().__init__()
        self.encoder = encoder
        self.head: nn.Module
        network = encoder.network
        if isinstance(network, SegmentTransformer):
            self.head = Recognizer(network, num_classes, hidden=settings.hidden, dropout=settings.dropout).head
            self.dropout = settings.dropout
            set_drop_path(network, settings.drop_path)
        else:
            line = nn.Linear(encoder.width, num_classes)
            nn.init.normal_(line.weight, std=DEVIATION)
            nn.init.zeros_(line.bias)
            # Pre-trained features point much the same way for all clips; what tells these apart is small beside it.
            norm = nn.BatchNorm1d(encoder.width, eps=EPSILON, affine=False)
            self.head = nn.Sequential(norm, line) if settings.normalise else line

    def forward(self, batch: Batch) -> torch.Tensor:
        """Logits (N, K)."""
        if not isinstance(self.encoder.network, SegmentTransformer):
            return self.head(self.encoder(batch))
        representation = self.encoder.persons(batch)  # (P, T, V, C_r)
        person = functional.dropout(representation, self.dropout, self.training).mean(dim=1).flatten(1)
        placed = person.new_zeros(*batch.person_mask.shape, person.shape[1])
        placed[batch.person_mask] = person
        return self.head(placed.sum(dim=1) / batch.person_mask.sum(dim=1, keepdim=True).to(placed.dtype))


def set_drop_path(network: nn.Module, probability: float) -> None:
    """Stochastic depth: from 0 at the first block to `probability` at the last; of no account without such blocks."""
    paths = [part for part in network.modules() if isinstance(part, DropPath)]
    for place, part in enumerate(paths):
        part.probability = probability * place / max(1, len(paths) - 1)


def layer_groups(classifier: nn.Module, encoder: Encoder, settings: FinetuneSettings) -> list[dict[str, object]]:
    """Parameters with their share of the learning rate: a layer's is `layer_decay` of the next one's, the head's is 1.

    Biases and normalisation do not decay, as in BEiT's recipe.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    of_encoder = {id(value): encoder.depth_of(name) for name, value in encoder.named_parameters()}
    for value in classifier.parameters():
        depth = of_encoder.get(id(value), encoder.depth + 1)
        scale = settings.layer_decay ** (encoder.depth + 1 - depth)
        decay = settings.weight_decay if value.dim() > 1 else 0.0
        groups.setdefault((scale, decay), []).append(value)
    return [{"params": values, "scale": scale, "weight_decay": decay} for (scale, decay), values in groups.items()]


def optimizer_of(groups: list[dict[str, object]], settings: FinetuneSettings) -> torch.optim.Optimizer:
    """The recipe's optimiser."""
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=0.9)
    return torch.optim.AdamW(groups, lr=settings.lr)


def set_rates(optimizer: torch.optim.Optimizer, settings: FinetuneSettings, epoch: int, progress: float) -> None:
    """The learning rate of a step, by each group's share."""
    schedule = PretrainingLoop(
        epochs=settings.epochs,
        lr=settings.lr,
        lr_end=settings.lr_end,
        schedule=settings.schedule,
        lr_steps=settings.lr_steps,
        warmup_epochs=min(settings.warmup_epochs, settings.epochs - 1),
    )
    rate = learning_rate(schedule, epoch, progress)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def finetune(
    encoder: Encoder,
    dataset: SkeletonDataset,
    num_classes: int,
    settings: FinetuneSettings,
    *,
    seed: int,
    device: str = "cpu",
    bf16: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> Classifier:
    """Trains encoder and classifier on labelled clips.

    Args:
        encoder: Where it begins.
        dataset: Labelled clips, drawn anew in every epoch.
        num_classes: K.
        settings: The recipe.
        seed: Of the order of the clips and of the head's weights.
        device: "cpu" or a GPU.
        bf16: Whether products are in bfloat16.
        tell: Told a line now and then.

    Returns:
        The classifier after the last epoch, in evaluation mode.
    """
    torch.manual_seed(seed)
    classifier = Classifier(encoder, num_classes, settings).to(device).train()
    optimizer = optimizer_of(layer_groups(classifier, encoder, settings), settings)
    batches = ClipBatches(
        dataset.lengths, dataset.labels, batch_size=settings.batch_size, train=True, seed=seed, own_lengths=False
    )
    for epoch in range(settings.epochs):
        total = 0.0
        for number, batch in enumerate(make_loader(dataset, batches.batches(epoch), workers="auto"), 1):
            set_rates(optimizer, settings, epoch, number / len(batches))
            batch = batch.to(device)
            optimizer.zero_grad()
            with torch.autocast(device.partition(":")[0], dtype=torch.bfloat16, enabled=bf16):
                logits = classifier(batch)
            loss = functional.cross_entropy(logits.float(), batch.label, label_smoothing=settings.label_smoothing)
            loss.backward()
            optimizer.step()
            total += float(loss.detach())
        if (epoch + 1) % max(1, settings.epochs // 5) == 0:
            tell(f"epoch {epoch + 1}/{settings.epochs}: loss {total / len(batches):.4f}")
    return classifier.eval()


@torch.no_grad()
def probabilities_of(
    classifier: nn.Module,
    dataset: "Dataset[Sample]",
    count: int,
    *,
    batch_size: int = 128,
    device: str = "cpu",
    bf16: bool = False,
) -> np.ndarray:
    """Probabilities of all classes for all clips of a set, float64 (N, K)."""
    batches = [
        [(0, place) for place in range(start, min(start + batch_size, count))] for start in range(0, count, batch_size)
    ]
    found = []
    for batch in make_loader(dataset, batches, workers="auto"):
        with torch.autocast(device.partition(":")[0], dtype=torch.bfloat16, enabled=bf16):
            logits = classifier(batch.to(device))
        found.append(logits.double().softmax(1).cpu().numpy())
    return np.concatenate(found)


def labelled_share(labels: np.ndarray, share: float, *, seed: int) -> np.ndarray:
    """Places of about `share` of the clips, rising, every class by its size and with one clip at least.

    Args:
        labels: int (N,).
        share: In (0, 1].
        seed: Says which clips; all that fine-tune with it see the same ones.
    """
    rng = np.random.default_rng(seed)
    chosen = []
    for label in np.unique(labels):
        places = rng.permutation(np.flatnonzero(labels == label))
        chosen.append(places[: max(1, round(share * len(places)))])
    return np.sort(np.concatenate(chosen))

"""Fine-tuning for measurements: encoder and classifier together, on all or a few labels, pre-trained or from scratch.

`skelpipe train --init` creates recognizers for use; this module applies the recipes of both methods' published results.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset

from recognition.backbones.segments import DropPath, SegmentTransformer
from recognition.data.batches import Batch
from recognition.data.batching import ClipBatches, make_loader
from recognition.data.dataset import Sample, SkeletonDataset
from recognition.pretraining.encoder import Encoder
from recognition.pretraining.schedule import learning_rate
from recognition.pretraining.settings import PretrainingLoop
from recognition.protocols.linear import DEVIATION, EPSILON
from recognition.protocols.settings import FinetuneSettings
from recognition.recognizer import Recognizer


class Classifier(nn.Module):
    """An encoder with the classification head of its paper: MAMP's, or a linear layer on PCM3's last frame.

    Args:
        encoder: The encoder, which becomes a submodule.
        num_classes: K.
        settings: Sizes of the head, dropout and stochastic depth.
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
            # Pre-trained features of all clips point in similar directions; the differences that separate them are
            # small.
            norm = nn.BatchNorm1d(encoder.width, eps=EPSILON, affine=False)
            self.head = nn.Sequential(norm, line) if settings.normalise else line

    def forward(self, batch: Batch) -> torch.Tensor:
        """Return logits (N, K)."""
        if not isinstance(self.encoder.network, SegmentTransformer):
            return self.head(self.encoder(batch))
        representation = self.encoder.persons(batch)  # (P, T, V, C_r)
        person = functional.dropout(representation, self.dropout, self.training).mean(dim=1).flatten(1)
        placed = person.new_zeros(*batch.person_mask.shape, person.shape[1])
        placed[batch.person_mask] = person
        return self.head(placed.sum(dim=1) / batch.person_mask.sum(dim=1, keepdim=True).to(placed.dtype))


def set_drop_path(network: nn.Module, probability: float) -> None:
    """Set stochastic depth, increasing from 0 at the first block to `probability` at the last."""
    paths = [part for part in network.modules() if isinstance(part, DropPath)]
    for place, part in enumerate(paths):
        part.probability = probability * place / max(1, len(paths) - 1)


def layer_groups(classifier: nn.Module, encoder: Encoder, settings: FinetuneSettings) -> list[dict[str, object]]:
    """Group parameters by their learning-rate factor: each layer has `layer_decay` times the next one's, the head has
    1.

    Biases and normalisation have no weight decay, as in BEiT's recipe.

    Args:
        classifier: The network to train.
        encoder: Its encoder.
        settings: The recipe.
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
    """Build the optimiser of the recipe."""
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=0.9)
    return torch.optim.AdamW(groups, lr=settings.lr)


def set_rates(optimizer: torch.optim.Optimizer, settings: FinetuneSettings, epoch: int, progress: float) -> None:
    """Set the learning rate of a step, scaled by each group's factor; see `learning_rate`."""
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
    """Train encoder and classifier on labelled clips.

    Args:
        encoder: Initial encoder; it is trained in place.
        dataset: Labelled clips, augmented differently in every epoch.
        num_classes: K.
        settings: The recipe.
        seed: Seed of the order of the clips and of the head's weights.
        device: "cpu" or a GPU.
        bf16: Whether to use bfloat16 autocast.
        tell: Called with progress messages.

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
    """Return the class probabilities of all clips of a data set, float64 (N, K).

    Args:
        classifier: Network on `device`, in evaluation mode.
        dataset: Clips of one length.
        count: N, number of clips.
        batch_size: Clips per batch.
        device: "cpu" or a GPU.
        bf16: Whether to use bfloat16 autocast.
    """
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
    """Return the increasing indices of about `share` of the clips, stratified by class, with at least one clip per
    class.

    Args:
        labels: int (N,).
        share: In (0, 1].
        seed: Seed of the choice, so that all encoders are fine-tuned on the same clips.
    """
    rng = np.random.default_rng(seed)
    chosen = []
    for label in np.unique(labels):
        places = rng.permutation(np.flatnonzero(labels == label))
        chosen.append(places[: max(1, round(share * len(places)))])
    return np.sort(np.concatenate(chosen))

"""Protocols that assign one class to each clip."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.protocols.recipe import Place, Protocol
from pipeline.protocols.results import KeptSubsets
from pipeline.protocols.tasks import Task
from pose_extraction.files import sha256_of
from recognition.data.dataset import SkeletonDataset
from recognition.evaluation.metrics import Metrics, measure
from recognition.protocols.features import features_of
from recognition.protocols.finetune import finetune, labelled_share, probabilities_of
from recognition.protocols.linear import fit_linear, nearest_labels
from recognition.protocols.occlusion import OccludedDataset
from recognition.protocols.settings import FinetuneSettings


def _by_classes(
    protocol: Protocol,
    word: str,
    tasks: Sequence[Task],
    folder: Path,
    *,
    place: Place,
    scratch: bool,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Run a protocol that classifies clips."""
    first = tasks[0]
    labels, settings = first.clips.labels[first.test], first.settings
    found: dict[str, Any] = {"split": first.test_split, "clips": len(labels)}

    def measured(seed: int) -> Metrics:
        answers = _answers(protocol, tasks, seed=seed, place=place, scratch=scratch, tell=tell)
        return measure(answers, labels, unanswered=np.zeros(0, np.int64))

    if protocol.name != "semi" or settings.runs == 1:
        metrics = measured(settings.seed)
        return found | {
            "top1": metrics.top1,
            "top1_interval": list(metrics.top1_interval),
            "mean_class": metrics.mean_class,
        }
    kept = KeptSubsets(folder, _measured_on(word, tasks, place, scratch=scratch))
    accuracies = []
    for seed in range(settings.seed, settings.seed + settings.runs):
        top1, again = kept.get(seed), " (kept from an earlier run)"
        if top1 is None:
            top1, again = measured(seed).top1, ""
            kept.keep(seed, top1)
        accuracies.append(top1)
        tell(f"subset {seed}: top-1 {top1:.2%}{again}")
    kept.end()
    return found | {
        "top1": float(np.mean(accuracies)),
        "top1_interval": None,
        "mean_class": None,
        "top1_runs": accuracies,
        "top1_deviation": float(np.std(accuracies, ddof=1)),
    }


def _measured_on(word: str, tasks: Sequence[Task], place: Place, *, scratch: bool) -> dict[str, Any]:
    """Return everything that an accuracy depends on."""
    first = tasks[0]
    return {
        "protocol": word,
        "weights": [sha256_of(task.pretrained.path) for task in tasks],
        "scratch": scratch,
        "clips": first.clips.content_digest(),
        "splits": [first.train_split, first.test_split],
        "settings": [task.settings.model_dump(mode="json") for task in tasks],
        "bf16": place.bf16,
    }


def _answers(
    protocol: Protocol,
    tasks: Sequence[Task],
    *,
    seed: int,
    place: Place,
    scratch: bool,
    tell: Callable[[str], None],
) -> np.ndarray:
    """Return scores of all classes for the test clips, float64 (N, K): the mean of the encoders' probabilities.

    For retrieval, the score is 1 for the class of the training clip with the largest sum of cosine similarities.
    """
    if protocol.name == "knn":
        first = tasks[0]
        galleries, queries = zip(*(_features(task, place) for task in tasks), strict=True)
        found = nearest_labels(galleries, torch.as_tensor(first.clips.labels[first.training]), queries)
        return np.eye(first.num_classes)[found.numpy()]
    total: np.ndarray = np.zeros(())
    for task in tasks:
        total = total + _probabilities(protocol, task, seed=seed, place=place, scratch=scratch, tell=tell)
    return total / len(tasks)


def _features(task: Task, place: Place) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the features of training and test clips, both without augmentation."""
    encoder = copy.deepcopy(task.pretrained.encoder).to(place.device)
    where: dict[str, Any] = {"device": place.device, "bf16": place.bf16}
    gallery = SkeletonDataset(task.clips, task.training, task.test_set.settings, train=False)
    return (
        features_of(encoder, gallery, len(task.training), **where),
        features_of(encoder, task.test_set, len(task.test), **where),
    )


def _probabilities(
    protocol: Protocol,
    task: Task,
    *,
    seed: int,
    place: Place,
    scratch: bool,
    tell: Callable[[str], None],
) -> np.ndarray:
    """Return the probabilities of all classes for the test clips, float64 (N, K)."""
    encoder = copy.deepcopy(task.pretrained.encoder).to(place.device)
    where: dict[str, Any] = {"device": place.device, "bf16": place.bf16}
    labels, settings = task.clips.labels, task.settings
    if protocol.name in ("finetune", "semi", "transfer"):
        chosen = task.training
        if protocol.share < 1:
            chosen = chosen[labelled_share(labels[chosen], protocol.share, seed=seed)]
        dataset = SkeletonDataset(task.clips, chosen, task.train_set.settings, train=True, seed=seed)
        recipe = recipe_of(settings.finetune, scratch=scratch)
        classifier = finetune(encoder, dataset, task.num_classes, recipe, seed=seed, tell=tell, **where)
        return probabilities_of(classifier, task.test_set, len(task.test), **where)
    occluded = protocol.name == "occlusion"
    test_set: Any = OccludedDataset(task.test_set, protocol.kind, seed=settings.seed) if occluded else task.test_set
    test = features_of(encoder, test_set, len(task.test), **where)
    known = torch.as_tensor(labels[task.training])
    train_set: Any = task.train_set
    if occluded and settings.occluded_training:
        train_set = OccludedDataset(task.train_set, protocol.kind, seed=settings.seed)
    views = []
    for view in range(settings.linear.views):
        views.append(features_of(encoder, train_set, len(known), epoch=view, **where))
        tell(f"encoded view {view + 1} of {settings.linear.views} of the training clips")
    network = fit_linear(views, known, task.num_classes, settings.linear, seed=seed)
    with torch.no_grad():
        return network(test).double().softmax(1).numpy()


def recipe_of(settings: FinetuneSettings, *, scratch: bool) -> FinetuneSettings:
    """Return the fine-tuning recipe; from scratch, all layers have the same learning rate, as published.

    Args:
        settings: Fine-tuning settings.
        scratch: Whether the encoder starts from random weights.
    """
    return settings.model_copy(update={"layer_decay": 1.0}) if scratch else settings

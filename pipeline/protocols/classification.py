"""Protocols that assign one class to each clip."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.protocols.measurement import Measurement
from pipeline.protocols.results import KeptSubsets
from pipeline.protocols.tasks import ClassificationTask
from pose_extraction.files import sha256_of
from recognition.data.dataset import SkeletonDataset
from recognition.evaluation.metrics import Metrics, measure
from recognition.pretraining.encoder import Encoder
from recognition.protocols.finetune import finetune
from recognition.protocols.labelled_share import labelled_share
from recognition.protocols.linear import fit_linear, nearest_labels
from recognition.protocols.occlusion import OccludedDataset
from recognition.protocols.outputs import features_of, probabilities_of


def measure_classification(
    measurement: Measurement, tasks: Sequence[ClassificationTask], folder: Path
) -> dict[str, Any]:
    """Run a protocol that classifies clips.

    Args:
        measurement: The protocol and how to run it.
        tasks: The task of each encoder.
        folder: Folder of the result, which keeps the accuracies of finished subsets until all are finished.

    Returns:
        Test split, number of clips and accuracies.
    """
    first, settings = tasks[0], measurement.settings
    found = {"split": first.test_split, "clips": len(first.test)}
    if measurement.protocol.name == "semi" and settings.runs > 1:
        return found | _mean_of_subsets(measurement, tasks, folder)
    metrics = _measured(measurement, tasks, seed=settings.seed)
    return found | {
        "top1": metrics.top1,
        "top1_interval": list(metrics.top1_interval),
        "mean_class": metrics.mean_class,
    }


def _mean_of_subsets(measurement: Measurement, tasks: Sequence[ClassificationTask], folder: Path) -> dict[str, Any]:
    """Return the mean accuracy over random subsets of the labels; finished subsets are not measured again."""
    settings = measurement.settings
    kept = KeptSubsets(folder, _measured_on(measurement, tasks))
    accuracies = []
    for seed in range(settings.seed, settings.seed + settings.runs):
        top1, note = kept.get(seed), " (kept from an earlier run)"
        if top1 is None:
            top1, note = _measured(measurement, tasks, seed=seed).top1, ""
            kept.keep(seed, top1)
        accuracies.append(top1)
        measurement.tell(f"subset {seed}: top-1 {top1:.2%}{note}")
    kept.end()
    return {
        "top1": float(np.mean(accuracies)),
        "top1_interval": None,
        "mean_class": None,
        "top1_runs": accuracies,
        "top1_deviation": float(np.std(accuracies, ddof=1)),
    }


def _measured_on(measurement: Measurement, tasks: Sequence[ClassificationTask]) -> dict[str, Any]:
    """Return everything that an accuracy depends on."""
    first = tasks[0]
    return {
        "protocol": measurement.protocol.word,
        "weights": [sha256_of(task.pretrained.path) for task in tasks],
        "scratch": measurement.scratch,
        "clips": first.clips.content_digest(),
        "splits": [first.train_split, first.test_split],
        "settings": [task.settings.model_dump(mode="json") for task in tasks],
        "bf16": measurement.engine.bf16,
    }


def _measured(measurement: Measurement, tasks: Sequence[ClassificationTask], *, seed: int) -> Metrics:
    first = tasks[0]
    scores = _scores(measurement, tasks, seed=seed)
    return measure(scores, first.clips.labels[first.test], unanswered=np.zeros(0, np.int64))


def _scores(measurement: Measurement, tasks: Sequence[ClassificationTask], *, seed: int) -> np.ndarray:
    """Return scores of all classes for the test clips, float64 (N, K): the mean of the encoders' probabilities.

    For retrieval, the score is 1 for the class of the training clip with the largest sum of cosine similarities.
    """
    if measurement.protocol.name == "knn":
        first = tasks[0]
        galleries, queries = zip(*(_features(measurement, task) for task in tasks), strict=True)
        found = nearest_labels(galleries, torch.as_tensor(first.clips.labels[first.training]), queries)
        return np.eye(first.num_classes)[found.numpy()]
    tuned = measurement.protocol.name in ("finetune", "semi", "transfer")
    probabilities_by = _by_finetuning if tuned else _by_linear_classifier
    return np.mean([probabilities_by(measurement, task, seed=seed) for task in tasks], axis=0)


def _encoder(measurement: Measurement, task: ClassificationTask) -> Encoder:
    """Return a copy of the encoder on the device, which training may change."""
    return copy.deepcopy(task.pretrained.encoder).to(measurement.engine.device)


def _features(measurement: Measurement, task: ClassificationTask) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the features of training and test clips, both without augmentation."""
    encoder = _encoder(measurement, task)
    gallery = SkeletonDataset(task.clips, task.training, task.test_set.settings, train=False)
    return (
        features_of(encoder, gallery, len(task.training), engine=measurement.engine),
        features_of(encoder, task.test_set, len(task.test), engine=measurement.engine),
    )


def _by_finetuning(measurement: Measurement, task: ClassificationTask, *, seed: int) -> np.ndarray:
    """Return the probabilities of all classes for the test clips, float64 (N, K), by encoder and head together."""
    chosen, recipe = task.training, task.settings.finetune
    if measurement.protocol.share < 1:
        chosen = chosen[labelled_share(task.clips.labels[chosen], measurement.protocol.share, seed=seed)]
    dataset = SkeletonDataset(task.clips, chosen, task.train_set.settings, train=True, seed=seed)
    classifier = finetune(
        _encoder(measurement, task),
        dataset,
        task.num_classes,
        recipe.from_scratch() if measurement.scratch else recipe,
        seed=seed,
        tell=measurement.tell,
        engine=measurement.engine,
    )
    return probabilities_of(classifier, task.test_set, len(task.test), engine=measurement.engine)


def _by_linear_classifier(measurement: Measurement, task: ClassificationTask, *, seed: int) -> np.ndarray:
    """Return the probabilities of all classes for the test clips, float64 (N, K), from features of a fixed encoder."""
    encoder, settings = _encoder(measurement, task), task.settings
    kind = measurement.protocol.kind
    train_set: Any = task.train_set
    test_set: Any = task.test_set
    if kind is not None:
        test_set = OccludedDataset(task.test_set, kind, seed=settings.seed)
        if settings.occluded_training:
            train_set = OccludedDataset(task.train_set, kind, seed=settings.seed)
    test = features_of(encoder, test_set, len(task.test), engine=measurement.engine)
    labels = torch.as_tensor(task.clips.labels[task.training])
    views = []
    for view in range(settings.linear.views):
        views.append(features_of(encoder, train_set, len(labels), epoch=view, engine=measurement.engine))
        measurement.tell(f"encoded view {view + 1} of {settings.linear.views} of the training clips")
    network = fit_linear(views, labels, task.num_classes, settings.linear, seed=seed)
    with torch.no_grad():
        return network(test).double().softmax(1).numpy()

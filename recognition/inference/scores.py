"""Predictions of a trained recognizer for the clips of a data set, batched by length.

Only persons that are present pass through the network. Apart from rounding, the result of a clip does not depend on the
other clips of its batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pose_extraction.engines.engine import Engine
from recognition.data.batching import ClipBatches, make_loader
from recognition.data.dataset import SkeletonDataset
from recognition.inference.answers import answers
from recognition.inference.clip_networks import ClipNetwork, network_for, resolve_clip_engine

if TYPE_CHECKING:
    from recognition.runs import Trained


@dataclass(frozen=True)
class Scores:
    """Predictions of a recognizer for N clips, in the order of the data set.

    Args:
        probabilities: float32 (N, K), calibrated; each row sums to 1.
        unknown: float64 (N,), unknown score of each clip; larger is less like the known actions.
        features: float32 (N, hidden), hidden layer of the head after ReLU.
        labels: int64 (N,), labels of the data set; -1 for unlabelled clips.
        names: N clip ids.
        engine: Device, backend and precision that were used.
    """

    probabilities: np.ndarray
    unknown: np.ndarray
    features: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    engine: Engine


def scores_of(
    trained: "Trained",
    dataset: SkeletonDataset,
    engine: Engine | None = None,
    *,
    network: ClipNetwork | None = None,
    progress: Callable[[int], None] | None = None,
) -> Scores:
    """Run a recognizer on a data set.

    Args:
        trained: The recognizer; not modified.
        dataset: Clips with the run's transforms, without random augmentation.
        engine: Where it runs, and clips per batch; None, and values of "auto", select what is fastest here.
        network: Result of `network_for` for this engine, to reuse it for several data sets; None to create it.
        progress: Called with the number of clips of every finished batch.

    Raises:
        BackendError: Device, backend and precision cannot be combined on this machine.
        WeightsError: The output of the network is not finite.
    """
    engine = resolve_clip_engine(engine or Engine())
    assert engine.batch_size is not None
    network = network or network_for(trained.recognizer, engine)
    own_lengths = bool(len(dataset)) and int(np.ptp(dataset.lengths)) > 0
    batches = ClipBatches(
        dataset.lengths,
        dataset.labels,
        batch_size=engine.batch_size,
        train=False,
        seed=0,
        own_lengths=own_lengths,
    ).batches(0)
    head = trained.recognizer.head.fc2
    features = np.zeros((len(dataset), head.in_features), np.float32)
    probabilities = np.zeros((len(dataset), head.out_features), np.float32)
    unknown = np.zeros(len(dataset))
    names = [""] * len(dataset)
    for positions, batch in zip(batches, make_loader(dataset, batches, workers="auto"), strict=True):
        rows = [position for _, position in positions]
        features[rows], logits = network(batch)
        probabilities[rows], unknown[rows] = answers(
            trained, trained.recognizer.movement, batch, features[rows], logits
        )
        for row, name in zip(rows, batch.names, strict=True):
            names[row] = name
        if progress is not None:
            progress(len(batch))
    return Scores(probabilities, unknown, features, np.asarray(dataset.labels, np.int64), tuple(names), engine)

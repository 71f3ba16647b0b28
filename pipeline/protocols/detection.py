"""The detection protocol: actions with start and end in untrimmed sequences."""

import copy
from pathlib import Path
from typing import Any

from pipeline.protocols.labelled_sequences import LabelledSequences, read_labelled_sequences
from pipeline.protocols.measurement import Measurement
from pipeline.protocols.sequences import Sequences
from recognition.protocols.detection import Action, actions_of, frame_labels, mean_average_precisions
from recognition.protocols.detector import detector_path, save_detector
from recognition.protocols.finetune import finetune_frames
from recognition.protocols.frame_classifier import FrameClassifier, score_sequence
from recognition.protocols.windows import SequenceWindows, cut_windows, window_settings


def run_detection(measurement: Measurement, sequences: Sequences) -> dict[str, Any]:
    """Train a detector, save it next to its encoder, and measure it.

    An encoder with random weights is a baseline, so its detector is not saved.

    Args:
        measurement: The encoder, its settings, and how to run it.
        sequences: Training and test sequences.

    Returns:
        Numbers of clips, actions and proposals, both mean average precisions, and the path of the saved detector.

    Raises:
        UsageError: The file contains no actions, or a split has no usable sequence.
        AnnotationError: The actions of a sequence are malformed.
    """
    labelled = read_labelled_sequences(sequences, measurement.tell)
    classifier = train_detector(measurement, labelled)
    saved = {} if measurement.scratch else {"detector": str(_save_next_to_encoder(measurement, labelled, classifier))}
    return {**measure_detector(measurement, labelled, classifier), **saved}


def train_detector(measurement: Measurement, labelled: LabelledSequences) -> FrameClassifier:
    """Train a classifier of frames on windows of the training sequences.

    Args:
        measurement: The encoder, which is copied, its settings, and how to run it.
        labelled: The sequences.
    """
    recipe, clips = measurement.settings.finetune, labelled.clips
    windows = _windows(measurement, labelled, train=True)
    of_sequences = {
        index: frame_labels(labelled.actions_of(index), int(clips.lengths[index]), labelled.num_classes)
        for index in windows.sequences
    }
    measurement.tell(f"{len(windows.origins)} windows of {windows.length} frames for training")
    return finetune_frames(
        copy.deepcopy(measurement.first.encoder).to(measurement.engine.device),
        windows.dataset,
        windows.labels(of_sequences, background=labelled.num_classes),
        labelled.num_classes,
        recipe.from_scratch() if measurement.scratch else recipe,
        seed=measurement.settings.seed,
        engine=measurement.engine,
        tell=measurement.tell,
    )


def _save_next_to_encoder(measurement: Measurement, labelled: LabelledSequences, classifier: FrameClassifier) -> Path:
    """Write the detector's file, for `skelpipe predict`, and report the file that it replaces."""
    pretrained, seconds = measurement.first, labelled.frame_seconds
    if detector_path(pretrained).is_file():
        measurement.tell(f"{detector_path(pretrained)}: replacing an earlier detector")
    path = save_detector(
        pretrained,
        classifier,
        labelled.label_names,
        estimator=labelled.clips.estimator,
        extraction=labelled.clips.extraction,
        seconds=None if seconds is None else int(pretrained.settings.data.num_frames) * seconds,
    )
    measurement.tell(f"{path}: saved the detector")
    return path


def measure_detector(
    measurement: Measurement, labelled: LabelledSequences, classifier: FrameClassifier
) -> dict[str, Any]:
    """Return how well a detector finds the actions of the test sequences.

    Args:
        measurement: The settings, and how to run the detector.
        labelled: The sequences.
        classifier: The detector, in evaluation mode and on the measurement's device.
    """
    chosen, clips = measurement.settings.detection, labelled.clips
    windows = _windows(measurement, labelled, train=False)
    found: list[Action] = []
    for index in labelled.test:
        scores = score_sequence(
            classifier,
            windows,
            int(index),
            int(clips.lengths[index]),
            engine=measurement.engine,
        )
        found += actions_of(clips.names[index], scores, smooth=chosen.smooth, fewest=chosen.fewest)
    truths = [action for index in labelled.test for action in labelled.actions_of(index)]
    by_action, by_video = mean_average_precisions(found, truths, labelled.num_classes, overlap=chosen.overlap)
    counts = {"clips": len(labelled.test), "actions": len(truths), "proposals": len(found)}
    return {**counts, "mAP_a": by_action, "mAP_v": by_video}


def _windows(measurement: Measurement, labelled: LabelledSequences, *, train: bool) -> SequenceWindows:
    """Cut the training or the test sequences into windows of the length that the encoder was pre-trained on."""
    data = measurement.first.settings.data
    return cut_windows(
        labelled.clips,
        labelled.training if train else labelled.test,
        window_settings(data, int(data.num_frames)),
        stride=measurement.settings.detection.stride,
        train=train,
        seed=measurement.settings.seed,
    )

"""`skelpipe evaluate --protocol`: evaluate a pre-trained encoder with the protocols of the papers."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from pipeline.protocols.classification import measure_classification
from pipeline.protocols.clips import ClipSelection, optional_split
from pipeline.protocols.detection import run_detection
from pipeline.protocols.measurement import Measurement, resolve_request
from pipeline.protocols.motion import measure_motion
from pipeline.protocols.request import ProtocolRequest
from pipeline.protocols.results import write_result
from pipeline.protocols.sequences import open_sequences
from pipeline.protocols.tasks import classification_tasks
from pose_extraction.errors import UsageError
from pose_extraction.files import sha256_of
from recognition.data.splits import matching_test_split, training_split


def run_protocol(request: ProtocolRequest, *, console: Console) -> dict[str, Any]:
    """Evaluate encoders with a protocol and write the results below the first one's run directory.

    The protocol `detection` also leaves its detector in that directory, unless the encoder has random weights.

    Args:
        request: The encoders, the protocol and the clips.
        console: Receives progress and warnings.

    Returns:
        The results, for JSON output.

    Raises:
        UsageError: Protocol, runs and file do not fit each other.
        AnnotationError: The skeleton file is malformed.
        WeightsError: A run cannot be read.
        BackendError: The device is not available.
    """
    measurement = resolve_request(request, lambda line: console.print(Text(line)))
    run = _on_sequences if measurement.protocol.name in ("detection", "motion") else _on_clips
    # Now, because a training may replace the files meanwhile.
    digests = [sha256_of(encoder.path) for encoder in measurement.encoders]
    folder, found = run(measurement)
    first, *others = measurement.recipes
    result = {
        "protocol": measurement.protocol.word,
        "runs": [str(encoder.path) for encoder in measurement.encoders],
        "sha256": digests,
        "method": measurement.first.settings.method,
        "epoch": measurement.first.epoch,
        "scratch": measurement.scratch,
        "data": str(measurement.selection.path),
        "settings": first.model_dump(mode="json"),
        **({"fused_settings": [own.model_dump(mode="json") for own in others]} if others else {}),
        **found,
    }
    write_result(folder, result)
    return {**result, "folder": str(folder)}


def _on_sequences(measurement: Measurement) -> tuple[Path, dict[str, Any]]:
    """Run a protocol for frames; return the result folder and the results."""
    name = measurement.protocol.name
    if len(measurement.encoders) > 1:
        raise UsageError(f"--protocol {name}: supports a single encoder; omit --fuse")
    sequences = open_sequences(measurement.first, measurement.selection, tell=measurement.tell)
    folder = measurement.make_folder(usual_split=sequences.usual_split, usual_training=sequences.usual_training)
    run = run_detection if name == "detection" else measure_motion
    return folder, {"split": sequences.test_split, **run(measurement, sequences)}


def _on_clips(measurement: Measurement) -> tuple[Path, dict[str, Any]]:
    """Run a protocol that classifies clips; return the result folder and the results."""
    tasks = classification_tasks(measurement.encoders, measurement.recipes, measurement.selection)
    first, clips, path = tasks[0], tasks[0].clips, measurement.selection.path
    measurement.refuse_known_clips(clips.content_digest() == measurement.first.content_digest)
    usual = ClipSelection(path).data_settings(measurement.first.settings.data)
    folder = measurement.make_folder(
        usual_split=optional_split(lambda: matching_test_split(clips, first.train_set.settings)),
        usual_training=optional_split(lambda: training_split(clips, usual)),
    )
    measurement.tell(
        f"{len(first.training)} clips for training, {len(first.test)} clips of {path.name}'s "
        f"{first.test_split} for testing"
    )
    return folder, measure_classification(measurement, tasks, folder)

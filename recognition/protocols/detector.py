"""An action detector, stored next to the encoder that it is based on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pose_extraction.engines.checkpoints import apply_state_dict
from pose_extraction.errors import WeightsError
from pose_extraction.skeleton import LAYOUTS, layout_by_shape
from recognition import run_file, run_folder, run_names
from recognition.confidence.confidence import Confidence
from recognition.pretraining.encoder import Encoder, Pretrained
from recognition.pretraining.networks import build_encoder
from recognition.pretraining.settings import PretrainSettings
from recognition.protocols.frame_classifier import FrameClassifier
from recognition.protocols.windows import window_settings

# Name of the background, the classifier's last class.
BACKGROUND = "no action"
# Largest ratio between window lengths of inference and training without a warning.
FAR = 1.5


@dataclass(frozen=True)
class ActionDetector:
    """A trained classifier of frames.

    Args:
        recognizer: The classifier, in evaluation mode, on the CPU and in float32.
        settings: Settings of the encoder's pre-training, with windows as clips, shown in full.
        label_names: K names and `BACKGROUND`, in the order of the logits.
        layout: Name of the joint layout that the network receives.
        dimensions: 2 or 3, coordinates per joint.
        estimator: Pose estimator of the training skeletons; None if their file did not name it.
        extraction: Settings of that estimator, as far as they are known; see `extraction_of`.
        seconds: Length of the training windows in seconds; None if unknown.
        path: The detector file.
        confidence: That which changes nothing, because a detector's probabilities are not calibrated.
    """

    recognizer: FrameClassifier
    settings: PretrainSettings
    label_names: tuple[str, ...]
    layout: str
    dimensions: int
    estimator: str | None
    extraction: dict[str, Any]
    seconds: float | None
    path: Path
    confidence: Confidence = field(default_factory=Confidence)

    def length_warning(self, seconds: float) -> str | None:
        """Return a warning if windows of `seconds` differ much from the training windows, else None."""
        if self.seconds is None or max(seconds / self.seconds, self.seconds / seconds) < FAR:
            return None
        return (
            f"{self.path}: was trained on windows of {self.seconds:.2g} s; in windows of {seconds:.2g} s movements "
            f"look faster or slower; --windows {self.seconds:.2g} matches the training"
        )


def detector_path(pretrained: Pretrained) -> Path:
    """Return the path of an encoder's detector, which need not exist."""
    return run_names.results_folder(pretrained.path) / run_folder.DETECTOR


def save_detector(
    pretrained: Pretrained,
    classifier: FrameClassifier,
    label_names: Sequence[str],
    *,
    estimator: str | None,
    extraction: Mapping[str, Any],
    seconds: float | None,
) -> Path:
    """Save a detector next to its encoder and return its path; a previous one is replaced atomically.

    Args:
        pretrained: The encoder's run.
        classifier: The trained classifier.
        label_names: K class names, without the background.
        estimator: Pose estimator of the training skeletons, or None.
        extraction: Settings of the estimator.
        seconds: Length of the training windows in seconds, or None.
    """
    path = detector_path(pretrained)
    identity = run_folder.identity_of(
        pretrained.settings,
        label_names=[*label_names, BACKGROUND],
        layout=pretrained.layout,
        num_joints=len(classifier.encoder.parents),
        channels=3,
        dimensions=pretrained.dimensions,
        estimator=estimator,
        extraction=extraction,
    )
    weights = {name: tensor.cpu() for name, tensor in classifier.state_dict().items()}
    run_file.save(path, identity | {"detector": pretrained.settings.method, "seconds": seconds, "model": weights})
    return path


def load_detector(path: Path) -> ActionDetector:
    """Load a detector from its file.

    Raises:
        WeightsError: The file is missing, damaged, or not a detector.
    """
    content = run_file.load(path)
    if "detector" not in content:
        raise WeightsError(f"{path}: is not a detector; create one with `skelpipe evaluate RUN --protocol detection`")
    try:
        settings = PretrainSettings.model_validate(content["settings"])
        layout = LAYOUTS.get(content["layout"]) or layout_by_shape(content["num_joints"], content["dimensions"])
        encoder = Encoder(build_encoder(settings, layout), settings, layout, content["dimensions"])
        classifier = FrameClassifier(encoder, len(content["label_names"]) - 1)
        apply_state_dict(classifier, content["model"], source=path, ignore=())
        frames = int(settings.data.num_frames)
        return ActionDetector(
            classifier.eval(),
            settings.model_copy(update={"data": window_settings(settings.data, frames)}),
            tuple(content["label_names"]),
            content["layout"],
            content["dimensions"],
            content["estimator"],
            content.get("extraction", {}),
            content["seconds"],
            path,
        )
    except (KeyError, TypeError, ValidationError) as error:
        raise WeightsError(
            f"{path}: is incomplete ({error}); recreate it with `skelpipe evaluate {path.parent} --protocol detection`"
        ) from error

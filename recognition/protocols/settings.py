"""Settings of the evaluation protocols for pre-trained encoders; the defaults are each method's published recipes."""

from typing import Annotated, Any, Literal

from pydantic import Field

from recognition.settings import Strict


class LinearSettings(Strict):
    """A linear classifier on the features of a frozen encoder."""

    epochs: int = Field(100, ge=1)
    views: int = Field(
        5, ge=1, description="number of differently augmented encodings of the training clips; epochs alternate"
    )
    batch_size: int = Field(256, ge=2)
    lr: float = Field(0.1, gt=0)
    schedule: Literal["cosine", "step"] = "cosine"
    lr_steps: tuple[Annotated[int, Field(ge=1)], ...] = Field((), description="epochs that divide the rate by ten")
    normalise: bool = Field(True, description="standardise features by batch before the classifier")


class FinetuneSettings(Strict):
    """Encoder and classifier, trained together."""

    epochs: int = Field(100, ge=1)
    batch_size: int = Field(48, ge=2)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(3e-4, gt=0)
    lr_end: float = Field(1e-5, ge=0)
    schedule: Literal["cosine", "step"] = "cosine"
    lr_steps: tuple[Annotated[int, Field(ge=1)], ...] = ()
    warmup_epochs: int = Field(5, ge=0)
    weight_decay: float = Field(0.05, ge=0)
    layer_decay: float = Field(
        0.8, gt=0, le=1, description="learning rate of a layer relative to the next; 1 from scratch, as published"
    )
    drop_path: float = Field(0.3, ge=0, lt=1)
    dropout: float = Field(0.3, ge=0, lt=1)
    hidden: int = Field(2048, ge=1, description="width of the head's hidden layer, after MAMP's encoder")
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    normalise: bool = Field(
        False, description="standardise features by batch between PCM3's encoder and the linear layer"
    )

    def from_scratch(self) -> "FinetuneSettings":
        """Return the recipe for random initial weights: all layers have the same learning rate, as published."""
        return self.model_copy(update={"layer_decay": 1.0})


class DetectionSettings(Strict):
    """Detection of actions in long sequences with a classifier of frames, trained with the settings of `finetune`."""

    stride: int = Field(32, ge=1, description="frames between the starts of a test sequence's windows")
    smooth: int = Field(15, ge=1, description="frames over which scores are averaged")
    fewest: int = Field(10, ge=1, description="length of the shortest action, in frames")
    overlap: float = Field(0.5, gt=0, le=1, description="smallest tIoU of a correct proposal")


class MotionSettings(Strict):
    """Short-term motion prediction with the decoder of Martinez et al."""

    seen: int = Field(50, ge=2, description="number of input frames")
    predicted: int = Field(10, ge=1, description="number of predicted frames")
    hidden: int = Field(1024, ge=1)
    steps: int = Field(100_000, ge=1)
    batch_size: int = Field(16, ge=1)
    lr: float = Field(0.005, gt=0)
    lr_decay: float = Field(0.95, gt=0, le=1)
    decay_steps: int = Field(10_000, ge=1)
    clip_gradient: float = Field(5.0, gt=0)


class ProtocolSettings(Strict):
    """All settings that `skelpipe evaluate --protocol` accepts with `--set`."""

    seed: int = Field(0, ge=0)
    runs: int = Field(5, ge=1, description="number of seeded subsets of the semi-supervised protocol")
    parts: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]] = Field(
        (0.5, 1.0), description="range of the share of a training clip that classifiers see"
    )
    part_test: float | None = Field(
        None, gt=0, le=1, description="share of a test clip, from its middle; default: as in the pre-training"
    )
    occluded_training: bool = Field(True, description="whether to train the classifier of occluded clips on such clips")
    linear: LinearSettings = LinearSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    detection: DetectionSettings = DetectionSettings()
    motion: MotionSettings = MotionSettings()


def published(method: str) -> dict[str, Any]:
    """Return a method's recipes as values for `ProtocolSettings`; gaps are filled from the paper's code, or CMD's."""
    if method == "mamp":
        return {}
    supervised = {
        "optimizer": "sgd",
        "lr": 0.01,
        "batch_size": 64,
        "epochs": 80,
        "schedule": "step",
        "lr_steps": (50, 70),
        "warmup_epochs": 0,
        "weight_decay": 0.0,
        "layer_decay": 1.0,
        "drop_path": 0.0,
        "dropout": 0.0,
        "label_smoothing": 0.0,
    }
    return {
        "linear": {"batch_size": 1024, "schedule": "step", "lr_steps": (20, 50, 80), "normalise": False},
        "finetune": supervised,
    }

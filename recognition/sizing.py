"""What "auto" stands for: a model and a number of epochs that fit the data and the machine."""

from recognition.settings import ModelSettings

# Small enough to learn from hundreds of clips, and to train on a processor in minutes.
SMALL = ModelSettings(backbone="dstformer", dim=64, depth=3, heads=4, dim_representation=64, hidden=256)
PAPER = ModelSettings(backbone="dstformer")
# From so many clips on, and on a GPU, the paper's size pays.
CLIPS_FOR_PAPER_SIZE = 5000


def choose_model(clips: int, *, cuda: bool) -> ModelSettings:
    """The model for a number of training clips, on a processor or a GPU."""
    return PAPER if cuda and clips >= CLIPS_FOR_PAPER_SIZE else SMALL

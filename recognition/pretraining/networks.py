"""Builds the encoders of pre-training methods."""

from torch import nn

from pose_extraction.skeleton import Skeleton
from recognition.backbones import build_segments
from recognition.backbones.gru import GRUEncoder
from recognition.data.batches import CHANNELS
from recognition.pretraining.settings import PretrainSettings


def build_encoder(settings: PretrainSettings, layout: Skeleton) -> nn.Module:
    """Build the network that is kept after pre-training, with initial weights."""
    if settings.method == "mamp":
        return build_segments(settings.model, layout.num_joints, CHANNELS)
    values = settings.data.max_persons * layout.num_joints * CHANNELS
    encoder = GRUEncoder(values, hidden=settings.pcm3.hidden, layers=settings.pcm3.layers)
    for parameter in encoder.parameters():
        # As published, for the weights of all gates together; biases keep torch's initial values.
        if parameter.dim() == 2:
            nn.init.xavier_uniform_(parameter)
    return encoder


# Only the encoder is kept after pre-training; projectors, decoders, prompts and queues are discarded.
KEPT = "encoder."

"""Clips per second of a pre-training step, compared with a plain implementation of each paper, alternating in one run.

    python benchmarks/pretraining_speed.py mamp
    python benchmarks/pretraining_speed.py pcm3 --batch 16

Both use the sizes of the paper, NTU's 25 joints in 3D, and clips of which one in five has a second person, as in NTU60
(11 of 60 classes). The plain implementation computes in float32. For MAMP, it also encodes absent persons and keeps the
whole attention map; for PCM3, it calls the GRU frame by frame with the state carried over, one view at a time. A step
is forward, backward and the optimiser.
"""

import argparse
from collections.abc import Callable
from statistics import median
from time import perf_counter

import torch

from pose_extraction.skeleton import NTU25
from recognition.backbones.gru import GRUEncoder
from recognition.backbones.layers import Projected, SelfAttention
from recognition.backbones.segments import Block, SegmentTransformer
from recognition.data.batches import Batch
from recognition.engine.step import TrainingStep
from recognition.pretraining.encoder_training import build_optimizer
from recognition.pretraining.mamp import MAMP
from recognition.pretraining.pcm3 import PCM3
from recognition.pretraining.settings import MAMPSettings, PCM3Settings, PretrainingLoop
from recognition.pretraining.streams import bone_parents
from recognition.pretraining.views import VIEWS, body_parts


class PlainAttention(SelfAttention):
    """Explicit attention: the whole map of tokens by tokens, then its softmax, then the values."""

    def attend(self, projected: Projected, key_mask: torch.Tensor | None = None) -> torch.Tensor:
        query, key, value = projected
        shares = (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(-1)
        mixed: torch.Tensor = self.proj((shares @ value).transpose(1, 2).flatten(2))
        return mixed


class PlainEncoder(GRUEncoder):
    """The encoder as published: one frame at a time through all layers."""

    def __init__(self, values: int) -> None:
        super().__init__(values)
        del self.first, self.second
        self.gru = torch.nn.GRU(values, 1024, 3, bidirectional=True, batch_first=True)

    def recur(self, x: torch.Tensor) -> torch.Tensor:
        # One view after the other, in separate calls.
        return torch.cat([self._recur(part) for part in x.split(self.clips)])

    def _recur(self, x: torch.Tensor) -> torch.Tensor:
        state, frames = None, []
        for frame in range(x.shape[1]):
            out, state = self.gru(x[:, frame : frame + 1], state)
            frames.append(out)
        return torch.cat(frames, 1)

    clips = 0


def made_batch(clips: int, frames: int, *, second: bool) -> Batch:
    """Return random joints; every fifth clip has two persons, or all clips if `second`."""
    torch.manual_seed(0)
    keypoint = torch.randn(clips, 2, frames, 25, 3)
    person = torch.ones(clips, 2, dtype=torch.bool)
    absent = torch.arange(clips) % 5 != 0
    keypoint[absent, 1] = 0
    if not second:
        person[absent, 1] = False
    index = torch.arange(clips)
    return Batch(keypoint, person, torch.ones(clips, frames, dtype=torch.bool), index, index, ("",) * clips)


def stepper(objective: torch.nn.Module, loop: PretrainingLoop, batch: Batch, *, bf16: bool) -> Callable[[], None]:
    """Return a function that performs one training step."""
    optimizer = build_optimizer(objective.train(), loop)
    step = TrainingStep(objective, device_type="cpu", bf16=bf16)

    def run() -> None:
        optimizer.zero_grad()
        step(batch, epoch=0)["total"].backward()
        optimizer.step()

    return run


def mamp_steps(clips: int) -> dict[str, Callable[[], None]]:
    """Return the two implementations of MAMP."""
    steps = {}
    for name in ("plain", "here"):
        torch.manual_seed(0)
        model = MAMP(SegmentTransformer(num_joints=25, channels=3), MAMPSettings(decoder_depth=3), dimensions=3)
        if name == "plain":
            for block in (*model.encoder.blocks, *model.decoder.blocks):
                assert isinstance(block, Block)
                block.attention.__class__ = PlainAttention
        batch = made_batch(clips, 120, second=name == "plain")
        steps[name] = stepper(model, PretrainingLoop(), batch, bf16=name == "here")
    return steps


def pcm3_steps(clips: int) -> dict[str, Callable[[], None]]:
    """Return the two implementations of PCM3."""
    steps = {}
    for name in ("plain", "here"):
        torch.manual_seed(0)
        encoder = PlainEncoder(150) if name == "plain" else GRUEncoder(150)
        if isinstance(encoder, PlainEncoder):
            encoder.clips = clips
        model = PCM3(
            encoder,
            PCM3Settings(),
            max_persons=2,
            num_joints=25,
            channels=3,
            dimensions=3,
            parts=body_parts(NTU25),
            parents=torch.as_tensor(bone_parents(NTU25)),
        )
        loop = PretrainingLoop(optimizer="sgd", lr=0.02, weight_decay=1e-4)
        steps[name] = stepper(model, loop, made_batch(clips, VIEWS * 64, second=True), bf16=name == "here")
    return steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", choices=["mamp", "pcm3"], help="method to measure")
    parser.add_argument("--batch", type=int, default=16, help="clips per step (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=5, help="timed steps per implementation, after a warm-up (default: %(default)s)"
    )
    arguments = parser.parse_args()
    steps = (mamp_steps if arguments.method == "mamp" else pcm3_steps)(arguments.batch)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(arguments.rounds + 1):
        for name, run in steps.items():
            started = perf_counter()
            run()
            if turn:
                seconds[name].append(perf_counter() - started)
    for name, times in seconds.items():
        rates = sorted(arguments.batch / time for time in times)
        print(f"{name:6} {median(rates):7.2f} clips/s  ({rates[0]:.2f} to {rates[-1]:.2f})")
    ratios = sorted(plain / here for plain, here in zip(seconds["plain"], seconds["here"], strict=True))
    print(f"ours / plain: {median(ratios):.2f}  ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()

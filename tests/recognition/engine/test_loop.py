"""The training loop on a problem with a known solution, without a run directory."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from recognition.data.batches import Batch
from recognition.data.batching import ClipBatches
from recognition.data.dataset import Sample
from recognition.engine.loop import Loop, NotFiniteError, fit
from recognition.engine.processes import single_device
from recognition.engine.trainable import Trainable

CLIPS = 12


class Lines(Dataset[Sample]):
    """Clips of one joint in one frame; the third coordinate is a linear function of the others."""

    def __len__(self) -> int:
        return CLIPS

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        x, y = np.random.default_rng(key[1]).uniform(-1, 1, 2)
        return Sample(np.array([[[[x, y, 2 * x - y]]]], np.float32), 0, key[1], f"clip{key[1]}")


@dataclass
class Error:
    total: torch.Tensor
    clips: torch.Tensor


class Regression(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(2, 1, bias=False)
        nn.init.zeros_(self.line.weight)

    def forward(self, batch: Batch, scale: float) -> Error:
        point = batch.keypoint.flatten(1)
        error = ((self.line(point[:, :2])[:, 0] - point[:, 2]) ** 2).mean()
        return Error(scale * error, torch.tensor(len(batch)))


class LineTraining(Trainable):
    losses = ("total",)

    def __init__(self, *, epochs: int = 60, batch_size: int = 4, scale: float = 1.0) -> None:
        self.epochs, self.scale = epochs, scale
        self.objective = Regression()
        self.optimizer = torch.optim.SGD(self.objective.parameters(), lr=0.0)
        self.dataset = Lines()
        self.batches = ClipBatches(
            np.ones(CLIPS, int), np.zeros(CLIPS, int), batch_size=batch_size, train=True, seed=0, own_lengths=False
        )

    def set_rates(self, epoch: int, progress: float) -> dict[str, float]:
        self.optimizer.param_groups[0]["lr"] = 0.5
        return {"lr": 0.5}

    def arguments(self, epoch: int) -> dict[str, Any]:
        return {"scale": self.scale}


def test_a_training_in_memory_finds_the_solution_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    training, reports = LineTraining(), []
    fit(training, report=reports.append)
    weight = training.objective.line.weight[0].detach()
    torch.testing.assert_close(weight, torch.tensor([2.0, -1.0]), atol=1e-3, rtol=0)
    assert len(reports) == 5 and reports[-1].startswith("epoch 60/60: loss 0.0")
    assert not list(tmp_path.iterdir())


def test_micro_batches_make_the_step_of_the_whole_batch():
    whole, parts = LineTraining(batch_size=12), LineTraining(batch_size=4)
    fit_one_epoch(whole, accumulate=1)
    assert fit_one_epoch(parts, accumulate=3) == 1
    torch.testing.assert_close(parts.objective.line.weight, whole.objective.line.weight)


def fit_one_epoch(training: LineTraining, *, accumulate: int) -> int:
    """Train for an epoch; return its number of steps."""
    return len(list(Loop(single_device("cpu"), training, accumulate=accumulate).steps()))


def test_an_epoch_is_continued_at_the_position():
    whole, halves = LineTraining(), LineTraining()
    fit_one_epoch(whole, accumulate=1)
    loop = Loop(single_device("cpu"), halves)
    assert next(loop.steps()).clips == 4
    assert (loop.position.step_in_epoch, loop.position.clips) == (1, 4)
    # A second iterator loads the remaining batches only.
    assert len(list(loop.steps())) == 2
    assert torch.equal(halves.objective.line.weight, whole.objective.line.weight)


def test_flags_are_those_of_the_process():
    loop = Loop(single_device("cpu"), LineTraining())
    assert [step.flags for step in loop.steps(lambda: (True, 3))] == [(1.0, 3.0)] * 3


def test_a_loss_that_is_not_finite_stops_before_the_weights_change():
    training = LineTraining(scale=float("nan"))
    with pytest.raises(NotFiniteError, match=r"^the loss is nan at step 1 of epoch 1, in the clips clip\d+, "):
        fit(training)
    assert not training.objective.line.weight.any()

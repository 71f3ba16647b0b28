"""Training loop of one process: micro-batches into optimiser steps, steps into epochs. Writes no files."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn
from torch.utils.data import Dataset

from pose_extraction.errors import TrainingError
from recognition.data.batches import Batch
from recognition.data.batching import make_loader
from recognition.data.dataset import Sample
from recognition.distributed import gather_names
from recognition.engine.position import Position
from recognition.engine.processes import single_device
from recognition.engine.step import TrainingStep, agree
from recognition.engine.trainable import Trainable

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class NotFiniteError(TrainingError):
    """A loss or a gradient is not finite; the weights were not changed by this step."""


@dataclass(frozen=True)
class Step:
    """A completed optimiser step.

    Args:
        losses: Losses by name, averaged over the clips of all processes.
        rates: Learning rates by name.
        clips: Number of clips, over all processes.
        flags: Sums of the flags of all processes; see `Loop.steps`.
    """

    losses: dict[str, float]
    rates: dict[str, float]
    clips: int
    flags: tuple[float, ...]


class Loop:
    """Training in one process.

    Args:
        fabric: Connection to the device and to the other processes.
        training: What is trained.
        bf16: Whether to compute in bfloat16; weights stay in fp32.
        accumulate: Number of micro-batches per step.
        clip_gradient: Largest norm of a step's gradient; None: unlimited.
        workers: Number of data loading processes, or "auto".

    Attributes:
        module: The objective as Fabric wraps it.
        position: Current epoch and step. It is advanced by every step, but only the caller begins the next epoch.
    """

    def __init__(
        self,
        fabric: "Fabric",
        training: Trainable,
        *,
        bf16: bool = False,
        accumulate: int = 1,
        clip_gradient: float | None = None,
        workers: int | Literal["auto"] = "auto",
    ) -> None:
        self.fabric, self.training = fabric, training
        self.accumulate, self.clip_gradient, self.workers = accumulate, clip_gradient, workers
        step = TrainingStep(training.objective, device_type=fabric.device.type, bf16=bf16)
        self.module, self.optimizer = fabric.setup(step, training.optimizer)
        if fabric.world_size > 1:
            # In its first backward pass, DDP notes in which order gradients arrive, and orders its buffers accordingly.
            # The place of a gradient in them decides in which order those of more than two processes are added. This
            # pass fixes the place by the order of the weights; otherwise, a resumed training would round differently.
            fabric.backward(self.module(None)["total"])
        self.position = Position()

    @property
    def steps_in_epoch(self) -> int:
        return math.ceil(len(self.training.batches) / self.accumulate)

    def load(
        self, batches: Sequence[list[tuple[int, int]]], *, dataset: Dataset[Sample] | None = None
    ) -> Iterator[Batch]:
        """Load batches of the training's data set, or of another one."""
        return iter(make_loader(dataset or self.training.dataset, batches, workers=self.workers))

    def steps(self, flags: Callable[[], Sequence[float]] = tuple) -> Iterator[Step]:
        """Train from the current position to the end of its epoch.

        Args:
            flags: Returns numbers of this process, which are summed over all processes in every step, so that all of
                them take the same decision.

        Yields:
            The step, after each optimiser step.

        Raises:
            NotFiniteError: A loss or a gradient is not finite.
        """
        position, steps = self.position, self.steps_in_epoch
        batches = self.training.batches.batches(position.epoch)
        loaded = self.load(batches[position.step_in_epoch * self.accumulate :])
        self.module.train()
        while position.step_in_epoch < steps:
            first = position.step_in_epoch * self.accumulate
            parts = [next(loaded) for _ in batches[first : first + self.accumulate]]
            yield self.step(parts, progress=(position.step_in_epoch + 1) / steps, flags=flags)

    def step(self, parts: Sequence[Batch], *, progress: float, flags: Callable[[], Sequence[float]] = tuple) -> Step:
        """Make one optimiser step.

        Args:
            parts: Micro-batches of the step.
            progress: Share of the epoch that is complete after this step, in (0, 1].
            flags: See `steps`.

        Raises:
            NotFiniteError: A loss or the gradient is not finite.
        """
        position, names = self.position, self.training.losses
        rates = self.training.set_rates(position.epoch, progress)
        of_parts = self._gradient(parts)
        own = (sum(map(len, parts)), *flags())
        values, norm, correct, (clips, *sums) = agree(of_parts, own, self.fabric, norm=self._norm_of_gradient())
        if not all(map(math.isfinite, values)):
            raise self._not_finite("loss", values[0], parts, of_parts)
        if not math.isfinite(norm):
            raise self._not_finite("norm of the gradient", norm, parts, of_parts)
        self.optimizer.step()
        position.add_step(clips=clips, correct=correct, loss=values[0])
        return Step(dict(zip(names, values, strict=True)), rates, int(clips), tuple(sums))

    def _gradient(self, parts: Sequence[Batch]) -> torch.Tensor:
        """Compute the gradient of a step, averaged over its clips; return the micro-batches' results for `agree`."""
        self.optimizer.zero_grad()
        names = (*self.training.losses, "clips")
        results: list[torch.Tensor] = []
        for number, part in enumerate(parts, 1):
            batch = part.to(self.fabric.device)
            with self.fabric.no_backward_sync(self.module, enabled=number < len(parts)):
                losses = self.module(batch, **self.training.arguments(self.position.epoch))
                # Weight micro-batches by their number of clips; the last one of an epoch can be smaller.
                self.fabric.backward(losses["total"] * losses["clips"])
            correct = self.training.count_correct(batch, losses)
            results.append(torch.stack([*(losses[name].detach().double() for name in names), correct.double()]))
        of_parts = torch.stack(results)
        # Kept as a tensor, because reading the number would synchronise with the GPU.
        clips = of_parts[:, -2].sum()
        for parameter in self.training.objective.parameters():
            if parameter.grad is not None:
                parameter.grad /= clips
        return of_parts

    def _norm_of_gradient(self) -> torch.Tensor:
        """Norm of the step's gradient before clipping; clips it if configured."""
        if self.clip_gradient is None:
            parameters = self.training.objective.parameters()
            return nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
        norm = self.fabric.clip_gradients(
            self.module, self.optimizer, max_norm=self.clip_gradient, error_if_nonfinite=False
        )
        assert norm is not None
        return norm

    def _not_finite(self, what: str, value: float, parts: Sequence[Batch], of_parts: torch.Tensor) -> NotFiniteError:
        position = self.position
        return NotFiniteError(
            f"the {what} is {value} at step {position.step + 1} of epoch {position.epoch + 1}, in the clips "
            f"{', '.join(_suspects(parts, of_parts))}"
        )


def fit(
    training: Trainable,
    *,
    device: str = "cpu",
    bf16: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> None:
    """Train to the end in this process, without a run directory: nothing is written, and nothing can be resumed.

    The random state is left to the caller.

    Args:
        training: What is trained; its objective is moved to the device.
        device: "cpu" or a GPU, such as "cuda:0".
        bf16: Whether to compute in bfloat16.
        report: Called with about five progress messages.

    Raises:
        NotFiniteError: A loss or a gradient is not finite.
    """
    loop = Loop(single_device(device), training, bf16=bf16)
    for epoch in range(training.epochs):
        for _ in loop.steps():
            pass
        if (epoch + 1) % max(1, training.epochs // 5) == 0:
            loss = loop.position.loss / loop.position.clips
            report(f"epoch {epoch + 1}/{training.epochs}: loss {loss:.4f}")
        loop.position.begin_next_epoch()


def _suspects(parts: Sequence[Batch], of_parts: torch.Tensor) -> list[str]:
    """Return the clips in micro-batches of all processes with losses that are not finite; all clips if every loss is.

    Args:
        parts: Micro-batches of this process.
        of_parts: (parts, L), losses of the micro-batches.
    """
    finite = of_parts.isfinite().all(1).tolist()
    of_bad = [name for part, fine in zip(parts, finite, strict=True) if not fine for name in part.names]
    return gather_names(of_bad) or gather_names([name for part in parts for name in part.names])

"""Training of the small networks: one loop for all kinds, which can be interrupted and resumed exactly.

python -m synthetic.networks train hrnet-tiny
"""

import copy
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from pose_extraction.engines.checkpoints import load_plain
from pose_extraction.engines.devices import cpu_has_bf16
from pose_extraction.errors import TrainingError
from pose_extraction.files import atomic_write
from recognition.optimizers import AdamW
from synthetic.networks.objectives import Objective, objective_of
from synthetic.networks.recipes import Recipe, rate_at

# Called with the number of completed steps, and the mean loss since the last call.
Progress = Callable[[int, float], None]
TOLD_EVERY, SAVED_EVERY = 50, 250
# Folder next to the state file of people to reuse, shared by all networks of a seed.
PEOPLE = "people"


class _Steps(Dataset[tuple[np.ndarray, ...]]):
    """The batches of all steps, by step number."""

    def __init__(self, objective: Objective, seed: int, steps: int) -> None:
        self._objective, self._seed, self._steps = objective, seed, steps

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> tuple[np.ndarray, ...]:
        cv2.setNumThreads(1)
        return self._objective.batch(self._seed, step)


class _DepthwiseInSinglePrecision(torch.nn.Conv2d):
    """A convolution outside autocast: in bf16 the gradients of depthwise convolutions take twice as long."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.float())


def train(
    recipe: Recipe,
    state_file: Path,
    *,
    seed: int = 0,
    workers: int = 1,
    stop_at: int | None = None,
    progress: Progress | None = None,
) -> torch.nn.Module:
    """Train a network, or resume the training from `state_file`.

    Args:
        recipe: The recipe.
        state_file: File of weights and optimiser state, saved every `SAVED_EVERY` steps and at the end.
        seed: Seed of weights and images.
        workers: Rendering processes; 0 renders in this process.
        stop_at: Stop after this number of steps; a later call resumes.
        progress: Called every `TOLD_EVERY` steps.

    Returns:
        The network with averaged weights, in evaluation mode.

    Raises:
        TrainingError: The state is from another recipe or seed, or the loss is not finite.
    """
    objective = objective_of(recipe, seed, state_file.parent / PEOPLE)
    network: Any = objective.network.train().requires_grad_(True)
    network.to(memory_format=torch.channels_last)
    for module in network.modules():
        if type(module) is torch.nn.Conv2d and module.groups == module.in_channels > 1:
            module.__class__ = _DepthwiseInSinglePrecision
    average = copy.deepcopy(network).eval().requires_grad_(False)
    # No weight decay for biases, normalisation and positional embeddings.
    groups: list[dict[str, Any]] = [
        {"params": [one for one in network.parameters() if one.ndim > 1 and one.shape[0] > 1]},
        {"params": [one for one in network.parameters() if one.ndim <= 1 or one.shape[0] == 1], "weight_decay": 0.0},
    ]
    optimiser = AdamW(groups, lr=recipe.rate, weight_decay=recipe.decay)
    about = {"seed": seed, **asdict(recipe)}
    done = _resume(state_file, about, network, average, optimiser)
    last = min(recipe.steps, stop_at if stop_at is not None else recipe.steps)
    losses = []
    loader = DataLoader(
        _Steps(objective, seed, recipe.steps), batch_size=None, sampler=range(done, last), num_workers=workers
    )
    for step, batch in enumerate(loader, done):
        for group in optimiser.param_groups:
            group["lr"] = rate_at(recipe, step)
        with torch.autocast("cpu", torch.bfloat16, enabled=cpu_has_bf16()):
            loss = objective.loss(tuple(batch))
        if not torch.isfinite(loss):
            raise TrainingError(f"the loss of {recipe.name} is {float(loss)} at step {step}; try a lower rate")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
        optimiser.step()
        _follow(average, network, min(recipe.average, (step + 1) / (step + 10)))
        losses.append(float(loss.detach()))
        if (step + 1) % SAVED_EVERY == 0 or step + 1 == last:
            _save(state_file, about, step + 1, network, average, optimiser)
        if progress is not None and ((step + 1) % TOLD_EVERY == 0 or step + 1 == last):
            progress(step + 1, float(np.mean(losses)))
            losses.clear()
    return average


def _follow(average: torch.nn.Module, network: torch.nn.Module, keep: float) -> None:
    """Update averaged weights and statistics towards the network's."""
    with torch.no_grad():
        for kept, now in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
            if kept.dtype.is_floating_point:
                kept.lerp_(now, 1 - keep)
            else:
                kept.copy_(now)


def _save(
    path: Path,
    about: dict[str, Any],
    step: int,
    network: torch.nn.Module,
    average: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
) -> None:
    content = {
        "about": about,
        "step": step,
        "network": network.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    with atomic_write(path) as file:
        torch.save(content, file)


def _resume(
    path: Path,
    about: dict[str, Any],
    network: torch.nn.Module,
    average: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
) -> int:
    """Restore the state of `_save`, and return the number of completed steps; 0 without a state file."""
    if not path.exists():
        return 0
    content = load_plain(path)
    # A training that completed all of its cycles may be extended by further ones.
    known = content["about"]["cycles"]
    earlier = about
    if content["step"] == sum(known):
        earlier = {**about, **{name: about[name][: len(known)] for name in ("cycles", "revisit")}}
    if content["about"] != earlier:
        changed = [key for key in about if content["about"].get(key) != earlier[key]]
        raise TrainingError(
            f"{path} was written with other settings ({', '.join(changed)}); delete it, or choose another folder"
        )
    network.load_state_dict(content["network"])
    average.load_state_dict(content["average"])
    optimiser.load_state_dict(content["optimiser"])
    return int(content["step"])

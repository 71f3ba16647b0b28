"""What "auto" stands for: a model and a number of epochs that fit the data and the machine; what a run will cost.

| training clips, and where | model (`preparation`) | epochs of each phase |
|---|---|---|
| a processor, or fewer than `CLIPS_FOR_PAPER_SIZE` | `SMALL`, own lengths up to its longest clip | as many as fit |
| a GPU, and more clips | `PAPER` | into the budget, within `EPOCHS` |
"""

from dataclasses import dataclass
from statistics import median
from time import perf_counter

import torch

from recognition.batching import ClipBatches, make_loader
from recognition.dataset import SkeletonDataset
from recognition.maskclr import MaskCLR
from recognition.preparation import Prepared
from recognition.recognizer import build_recognizer

# Minutes that a run of automatic length takes about.
CPU_BUDGET, CUDA_BUDGET = 30.0, 120.0
# Fewest and most epochs of a phase; the paper's are the most.
EPOCHS = (10, 300)
# Batches that are measured, after one that warms up.
MEASURED = 3


@dataclass(frozen=True)
class Cost:
    """What a step takes, measured with the run's own network and clips on its own device.

    Args:
        parameters: Of the network.
        phase1: Seconds of a step.
        phase2: Seconds of a step.
        steps: Steps of an epoch.
        state_bytes: Weights, gradients and the optimiser's two moments, counted.
        activation_bytes: What a step of phase two keeps for its backward pass, counted in a real step; the most of the
            measured batches.
    """

    parameters: int
    phase1: float
    phase2: float
    steps: int
    state_bytes: int
    activation_bytes: int


def measure_cost(prepared: Prepared) -> Cost:
    """Runs a few steps of both phases on batches from all over an epoch, without keeping what they learn."""
    settings, training = prepared.settings, prepared.settings.training
    if settings.model.size == "auto":
        raise ValueError("the model is still auto")
    device = torch.device(training.device.partition(",")[0])
    recognizer = build_recognizer(
        settings.model, num_joints=prepared.num_joints, channels=prepared.channels, num_classes=prepared.num_classes
    )
    objective = MaskCLR(recognizer, settings.maskclr, num_classes=prepared.num_classes).to(device)
    dataset = SkeletonDataset(prepared.clips, prepared.training, settings.data, train=True, seed=training.seed)
    batches = ClipBatches(
        dataset.lengths,
        prepared.clips.labels[prepared.training],
        batch_size=training.batch_size // training.accumulate,
        train=True,
        seed=training.seed,
        own_lengths=settings.data.num_frames == "own",
    ).batches(0)
    chosen = [batches[int(place * (len(batches) - 1) / MEASURED)] for place in range(MEASURED + 1)]
    seconds: dict[int, list[float]] = {1: [], 2: []}
    kept = 0
    for batch in make_loader(dataset, chosen, workers=0):
        moved = batch.to(device)
        for phase in (1, 2):
            counter = _Kept(objective)
            _synchronise(device)
            started = perf_counter()
            with torch.autograd.graph.saved_tensors_hooks(counter.pack, lambda tensor: tensor):
                autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=training.precision == "bf16")
                with autocast:
                    losses = objective(moved, phase=phase, epoch=0)
            losses.total.backward()
            objective.zero_grad()
            _synchronise(device)
            seconds[phase].append(perf_counter() - started)
            kept = max(kept, counter.bytes)
    parameters = sum(parameter.numel() for parameter in recognizer.parameters())
    return Cost(
        parameters=parameters,
        phase1=training.accumulate * median(seconds[1][1:]),
        phase2=training.accumulate * median(seconds[2][1:]),
        steps=-(-len(batches) // training.accumulate),
        state_bytes=4 * 4 * parameters,
        activation_bytes=kept,
    )


def choose_epochs(prepared: Prepared, cost: Cost) -> Prepared:
    """Puts numbers in the place of "auto": both phases alike, as many epochs as fit into the budget."""
    training = prepared.settings.training
    budget = 60 * (CUDA_BUDGET if training.device.startswith("cuda") else CPU_BUDGET)
    phases = ((training.phase1_epochs, cost.phase1), (training.phase2_epochs, cost.phase2))
    budget -= sum(epochs * seconds * cost.steps for epochs, seconds in phases if epochs != "auto")
    an_epoch = sum(seconds * cost.steps for epochs, seconds in phases if epochs == "auto")
    if not an_epoch:
        return prepared
    epochs = min(max(int(budget / an_epoch), EPOCHS[0]), EPOCHS[1])
    return prepared.with_epochs(*(epochs if given == "auto" else given for given, _ in phases))


class _Kept:
    """Counts the bytes that autograd keeps, each storage once, weights aside."""

    def __init__(self, objective: MaskCLR) -> None:
        self.bytes = 0
        self._seen = {parameter.untyped_storage().data_ptr() for parameter in objective.parameters()}

    def pack(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self.bytes += storage.nbytes()
        return tensor


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

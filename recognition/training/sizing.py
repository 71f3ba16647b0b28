"""Automatic choice of model and number of epochs for the data and the machine, and the cost estimate of a run.

| training clips and device | model (`model_choice`) | epochs of each phase |
|---|---|---|
| a CPU, or fewer than `CLIPS_FOR_PAPER_SIZE` clips | `SMALL_SEGMENTS`, at a fixed frame rate | as many as fit |
| a GPU and more clips | the size of the paper | into the budget, within `EPOCHS` |
"""

from dataclasses import dataclass
from statistics import median
from time import perf_counter, process_time
from typing import Literal

import torch

from recognition.data.batches import Batch
from recognition.data.batching import ClipBatches, make_loader
from recognition.data.dataset import SkeletonDataset
from recognition.data.descriptors.movement import SIZE
from recognition.engine.memory import explain_out_of_memory
from recognition.maskclr.objective import MaskCLR
from recognition.recognizer import Recognizer, build_recognizer
from recognition.settings import TrainingSettings
from recognition.training.preparation import Prepared

# Approximate duration in seconds of the steps of a run with an automatic number of epochs: of any run, for each clip,
# and the longest. 60 clips train for 47 seconds, 400 for two and a half minutes, 1200 for six. A few steps are measured
# before the first epoch; with reading of clips and slower minutes of a machine, epochs take up to a third longer.
CPU_BUDGET, CUDA_BUDGET = (30.0, 0.28, 1800.0), (60.0, 0.4, 7200.0)
# Minimum and maximum number of epochs per phase.
EPOCHS = (5, 300)
# Number of batches that are measured, after a warm-up batch.
MEASURED = 3
# Number of clips in a first step that estimates the cost per clip: two, because the contrastive losses need a pair.
FIRST_CLIPS = 2
# Limits for the steps that follow: bytes kept for the backward pass, and total duration in seconds.
MOST_KEPT = {"cpu": 2**30, "cuda": 8 * 2**30}
MOST_SECONDS = 60.0


@dataclass(frozen=True)
class Size:
    """Size of a run's network, known without running a step.

    Args:
        parameters: Number of parameters.
        state_bytes: Computed size of the weights, the gradients and the optimiser's two moments, in bytes.
    """

    parameters: int
    state_bytes: int


@dataclass(frozen=True)
class Cost:
    """Cost of a step, measured with the run's own network, clips and device.

    Args:
        phase1: Duration of a step in phase one, in seconds.
        phase2: Duration of a step in phase two, in seconds.
        steps: Number of steps per epoch.
        activation_bytes: Bytes that a micro-batch of phase two keeps for its backward pass; maximum over the measured
            steps.
        clips: Number of clips in the measured steps; duration and bytes are scaled from them to the batch.
        micro_batch: Number of clips in a micro-batch.
    """

    phase1: float
    phase2: float
    steps: int
    activation_bytes: int
    clips: int
    micro_batch: int


def size_of(prepared: Prepared) -> Size:
    """Compute the size of a run's network without allocating tensors."""
    with torch.device("meta"):
        recognizer = recognizer_of(prepared)
    parameters = sum(parameter.numel() for parameter in recognizer.parameters())
    return Size(parameters, 4 * 4 * parameters)


def measure_cost(prepared: Prepared) -> Cost:
    """Run a few steps of both phases on clips from all parts of an epoch, and discard the results.

    A step with two clips comes first. Its memory and duration determine the number of clips of the others, so that the
    measurement does not need the memory and time of a whole batch.

    Args:
        prepared: Data and settings of the run.

    Raises:
        TrainingError: Memory does not suffice even for two clips.
    """
    settings, training = prepared.settings, prepared.settings.training
    device = torch.device(training.device.partition(",")[0])
    objective = MaskCLR(recognizer_of(prepared), settings.maskclr, num_classes=prepared.num_classes).to(device)
    dataset = SkeletonDataset(prepared.clips, prepared.training, settings.data, train=True, seed=training.seed)
    batches = ClipBatches(
        dataset.lengths,
        prepared.clips.labels[prepared.training],
        batch_size=training.batch_size // training.accumulate,
        train=True,
        seed=training.seed,
        own_lengths=settings.data.num_frames == "own",
    ).batches(0)
    whole = max(map(len, batches))
    chosen = [batches[int(place * (len(batches) - 1) / MEASURED)] for place in range(MEASURED + 1)]

    def steps(of: list[list[tuple[int, int]]], clips: int) -> list[_Step]:
        parts = [batch[:clips] for batch in of]
        return [_measure(objective, batch.to(device), training) for batch in make_loader(dataset, parts, workers=0)]

    with explain_out_of_memory(
        f"{settings.data.file}: out of memory with {FIRST_CLIPS} clips; choose fewer frames with data.num_frames, or "
        "a smaller model, such as model=small"
    ):
        first = steps(chosen[:1], FIRST_CLIPS)[0]
        kept_fit = MOST_KEPT[device.type] * first.clips / max(1, first.kept)
        time_fit = MOST_SECONDS / MEASURED * first.clips / first.duration
        clips = int(min(whole, max(FIRST_CLIPS, kept_fit if kept_fit < time_fit else time_fit)))
        slow = first.duration * MEASURED > MOST_SECONDS
        measured = [first] if slow else steps(chosen[1:], clips)
    return Cost(
        phase1=training.accumulate * whole * median(step.phase1 / step.clips for step in measured),
        phase2=training.accumulate * whole * median(step.phase2 / step.clips for step in measured),
        steps=-(-len(batches) // training.accumulate),
        activation_bytes=max(step.kept * whole // step.clips for step in measured),
        clips=max(step.clips for step in measured),
        micro_batch=whole,
    )


@dataclass(frozen=True)
class _Step:
    clips: int
    phase1: float
    phase2: float
    # Of both phases, with the time that they waited for cores.
    duration: float
    kept: int


def _measure(objective: MaskCLR, batch: Batch, training: TrainingSettings) -> _Step:
    device = batch.label.device
    seconds, waited, kept = [], 0.0, 0
    # Cross-entropy uses steps of phase one throughout, and its networks may not provide attention for masking.
    phases: tuple[Literal[1, 2], ...] = (1, 2) if training.objective == "maskclr" else (1, 1)
    for phase in phases:
        counter = _Kept(objective)
        _synchronise(device)
        started, worked = perf_counter(), process_time()
        autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=training.precision == "bf16")
        with torch.autograd.graph.saved_tensors_hooks(counter.pack, lambda tensor: tensor), autocast:
            losses = objective(batch, phase=phase, epoch=0)
        losses.total.backward()
        objective.zero_grad()
        _synchronise(device)
        duration = perf_counter() - started
        # Next to other work a step waits for its cores. The processor time of all its threads is an upper bound on what
        # it needs alone, so that a busy machine does not shorten the training to a few epochs.
        waited += duration
        seconds.append(min(duration, process_time() - worked) if device.type == "cpu" else duration)
        kept = max(kept, counter.bytes)
    return _Step(len(batch), seconds[0], seconds[1], waited, kept)


def recognizer_of(prepared: Prepared) -> Recognizer:
    """Build a run's network with random weights."""
    return build_recognizer(
        prepared.settings.model,
        num_joints=prepared.layout.num_joints,
        channels=prepared.channels,
        num_classes=prepared.num_classes,
        movement_shape=(0, SIZE) if prepared.settings.data.descriptors else None,
    )


def choose_epochs(prepared: Prepared, cost: Cost) -> Prepared:
    """Replace numbers of epochs that are "auto": the same for both phases, as many as fit into the time budget."""
    training = prepared.settings.training
    fixed, each, longest = CUDA_BUDGET if training.device.startswith("cuda") else CPU_BUDGET
    budget = min(longest, fixed + each * len(prepared.training))
    phases = ((training.phase1_epochs, cost.phase1), (training.phase2_epochs, cost.phase2))
    budget -= sum(epochs * seconds * cost.steps for epochs, seconds in phases if epochs != "auto")
    an_epoch = sum(seconds * cost.steps for epochs, seconds in phases if epochs == "auto")
    if not an_epoch:
        return prepared
    epochs = min(max(int(budget / an_epoch), EPOCHS[0]), EPOCHS[1])
    return prepared.with_epochs(*(epochs if given == "auto" else given for given, _ in phases))


class _Kept:
    """Counts the bytes that autograd keeps, each storage once, without the weights."""

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

"""What a pre-training would do and cost: `skelpipe pretrain --dry-run`."""

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from rich.console import Console

from pipeline.reporting.durations import rounded_duration
from pipeline.train.dry_run import print_plan
from pose_extraction.errors import counted
from recognition.data.batching import make_loader
from recognition.engine.step import TrainingStep
from recognition.engine.workflow import last_checkpoint
from recognition.pretraining.encoder_training import EncoderTraining
from recognition.pretraining.networks import KEPT
from recognition.pretraining.preparation import Pretraining, prepare_pretraining
from recognition.pretraining.resuming import check_same_pretraining
from recognition.pretraining.settings import PretrainSettings

# Clips per measured step of a dry run: enough to load the machine, few enough to be quick.
MEASURED_CLIPS = 16


@dataclass(frozen=True)
class StepCost:
    """Cost of a training step.

    Args:
        parameters: Number of trained parameters.
        kept: Number of these that belong to the encoder.
        seconds: Seconds per step, measured with `clips` clips and scaled to the batch size.
        clips: Clips per measured step.
        steps: Steps per epoch.
    """

    parameters: int
    kept: int
    seconds: float
    clips: int
    steps: int


def measure_step(prepared: Pretraining) -> StepCost:
    """Runs two steps on the device of the run and times the second one; the weights are discarded.

    Args:
        prepared: The prepared run.
    """
    settings = prepared.settings.training
    device = settings.device.partition(",")[0]
    training = EncoderTraining(prepared)
    objective, optimizer = training.objective.to(device).train(), training.optimizer
    step = TrainingStep(objective, device_type=device.partition(":")[0], bf16=settings.precision == "bf16")
    clips = min(MEASURED_CLIPS, settings.batch_size, len(prepared.training))
    loader = make_loader(training.dataset, [[(0, place) for place in range(clips)]] * 2, workers=0)
    seconds = 0.0
    for batch in loader:
        started = perf_counter()
        optimizer.zero_grad()
        losses = step(batch.to(device), epoch=0)
        losses["total"].backward()
        optimizer.step()
        losses["total"].item()
        seconds = perf_counter() - started
    trained = {name: value.numel() for name, value in objective.named_parameters() if value.requires_grad}
    return StepCost(
        parameters=sum(trained.values()),
        kept=sum(count for name, count in trained.items() if name.startswith(KEPT)),
        seconds=seconds * min(settings.batch_size, len(prepared.training)) / clips,
        clips=clips,
        steps=-(-len(training.batches) // settings.accumulate),
    )


def dry_run(settings: PretrainSettings, *, resume: Path | None = None, console: Console | None = None) -> None:
    """Prints the resolved settings, and the size and time of a run; does not train or write files.

    Args:
        settings: Settings of the run.
        resume: Run directory of a run to resume.
        console: Console for the output; standard output if None.

    Raises:
        SkelpipeError: The run would be refused.
    """
    prepared = prepare_pretraining(settings)
    if resume is not None:
        check_same_pretraining(last_checkpoint(resume), prepared, run=str(resume))
    values = prepared.settings.model_dump(mode="json")
    unused = {"mamp": ("pcm3",), "pcm3": ("mamp", "model")}[prepared.settings.method]
    cost = measure_step(prepared)
    print_plan(
        console,
        settings={name: value for name, value in values.items() if name not in unused},
        facts={
            "data": f"{prepared.settings.data.file}, {prepared.layout.name}",
            "clips": f"{len(prepared.training)}, with or without labels",
            "parameters": f"{cost.parameters:,}, {cost.kept:,} of them in the encoder",
        },
        notes=prepared.notes,
        costs=costs_of(prepared, cost),
    )


def costs_of(prepared: Pretraining, cost: StepCost) -> dict[str, str]:
    """Describes epochs and time of a run, from a measured step."""
    training = prepared.settings.training
    duration = rounded_duration(cost.seconds * cost.steps * training.epochs)
    return {
        "epochs": f"{training.epochs} with {counted(cost.steps, 'step')} each",
        "time": f"about {duration} on {training.device.partition(',')[0]} (measured: {cost.seconds:.2f} s per step, "
        f"scaled from {cost.clips} clips)",
    }

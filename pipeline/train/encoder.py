"""`skelpipe pretrain`: describes a run without starting it."""

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import yaml
from rich.console import Console

from recognition import runs
from recognition.data.batching import make_loader
from recognition.engine.step import TrainingStep
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
    """Prints the resolved settings, and the size and time of a run; does not write files.

    Args:
        settings: Settings of the run.
        resume: Run directory of a run to resume.
        console: Console for the output; standard output if None.

    Raises:
        SkelpipeError: The run would be refused.
    """
    prepared = prepare_pretraining(settings)
    if resume is not None:
        check_same_pretraining(runs.load(runs.run_file(resume, "last")), prepared, run=str(resume))
    console = console or Console()
    values = prepared.settings.model_dump(mode="json")
    unused = {"mamp": ("pcm3",), "pcm3": ("mamp", "model")}[prepared.settings.method]
    shown = {name: value for name, value in values.items() if name not in unused}
    console.print(yaml.safe_dump(shown, sort_keys=False), highlight=False, markup=False)
    for note in prepared.notes:
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    cost = measure_step(prepared)
    training = prepared.settings.training
    hours = cost.seconds * cost.steps * training.epochs / 3600
    lines = (
        f"data        {prepared.settings.data.file}, {prepared.layout.name}",
        f"clips       {len(prepared.training)}, with or without labels",
        f"parameters  {cost.parameters:,}, {cost.kept:,} of them in the encoder",
        f"epochs      {training.epochs} with {cost.steps} steps each",
        f"time        about {hours:.1f} h on {training.device.partition(',')[0]} (measured: "
        f"{cost.seconds:.2f} s per step, scaled from {cost.clips} clips)",
    )
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)

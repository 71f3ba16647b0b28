"""What a training would do and cost: `skelpipe train --dry-run`."""

from pathlib import Path

from rich.console import Console

from pipeline.reporting.durations import rounded_duration
from pipeline.train.dry_run import print_plan
from pose_extraction.errors import counted
from recognition import run_folder
from recognition.engine.workflow import last_checkpoint
from recognition.settings import RunSettings
from recognition.training.initialising import initialise
from recognition.training.mirroring import with_mirroring
from recognition.training.preparation import Prepared, prepare
from recognition.training.resuming import check_same_run, settings_before
from recognition.training.schedule import epochs_of
from recognition.training.sizing import Cost, Size, choose_epochs, measure_cost, recognizer_of, size_of


def dry_run(settings: RunSettings, *, resume: Path | None = None, console: Console | None = None) -> None:
    """Prints the resolved settings, and the memory and time that a run needs; does not train or write files.

    Args:
        settings: Settings of the run.
        resume: Run directory of a run to resume.
        console: Console for the output; standard output if None.

    Raises:
        SkelpipeError: The run would be refused.
    """
    checkpoint = last_checkpoint(resume) if resume is not None else None
    prepared = prepare(settings, begun=settings_before(checkpoint))
    notes: list[str] = []
    if checkpoint is not None:
        check_same_run(checkpoint, prepared, run=str(resume))
    else:
        run_folder.refuse_begun(Path(prepared.settings.out))
        prepared = with_mirroring(prepared)
        if prepared.settings.init is not None:
            clips, init = prepared.clips, prepared.settings.init
            loaded = initialise(
                recognizer_of(prepared), init, label_names=clips.label_names, dimensions=clips.dimensions
            )
            notes.append(loaded)
    cost = measure_cost(prepared)
    prepared = choose_epochs(prepared, cost)
    print_plan(
        console,
        settings=prepared.settings.model_dump(mode="json"),
        facts=facts_of(prepared, size_of(prepared)),
        notes=[*prepared.notes, *notes],
        costs=costs_of(prepared, cost),
    )


def facts_of(prepared: Prepared, size: Size) -> dict[str, str]:
    """Describes data, clips and parameters of a run before its first step."""
    return {
        "data": f"{prepared.settings.data.file}, {prepared.layout.name}, {prepared.num_classes} classes",
        "clips": f"{len(prepared.training)} for training, {len(prepared.held_out)} held out",
        "parameters": f"{size.parameters:,}; {_size(size.state_bytes)} for weights, gradients and AdamW (computed)",
    }


def costs_of(prepared: Prepared, cost: Cost) -> dict[str, str]:
    """Describes epochs, memory and time of a run, from measured steps."""
    training = prepared.settings.training
    phase1, phase2 = epochs_of(prepared.settings.training)
    second = cost.phase2 if training.objective == "maskclr" else cost.phase1
    seconds = cost.steps * (phase1 * cost.phase1 + phase2 * second)
    device = training.device.partition(",")[0]
    scaled = (
        "" if cost.clips == cost.micro_batch else f", scaled to {cost.micro_batch} from steps with {cost.clips} clips"
    )
    return {
        "epochs": f"phase1_epochs: {phase1}, phase2_epochs: {phase2}, with {counted(cost.steps, 'step')} each",
        "memory": f"{_size(cost.activation_bytes)} of activations in a step of phase two (measured"
        f"{scaled}); the framework needs additional memory",
        "time": f"about {rounded_duration(seconds)} on {device} (measured: {cost.phase1:.3f} s per "
        f"step in phase one, {cost.phase2:.3f} s in phase two{scaled}; without held-out evaluation); less if "
        "several devices share the batch",
    }


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"

"""`skelpipe sweep` of pre-trainings: encoders that differ in a few settings, measured into one table."""

import dataclasses
import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.pretrain_sweep_settings import FRESH, PretrainSweep, pairs_of, pretrain_settings_of
from pipeline.protocol_data import Asked, labelled_clips, shown_as_in
from pipeline.protocols import place_of, run_protocol
from pipeline.robustness_report import figure_bytes
from pipeline.robustness_results import as_csv
from pipeline.sweep_jobs import RUNS, Job, train_rows, write_results
from pipeline.sweep_settings import folder_name
from pose_extraction.errors import UsageError
from pose_extraction.files import atomic_write, sha256_of
from recognition.clips import newest_skeleton_file, open_clips
from recognition.pretraining.encoder import pretrained_file

# Beside each run: what was measured of it.
MEASURED = "measured.json"


@dataclass(frozen=True)
class SweptEncoders:
    """A finished sweep.

    Args:
        rows: The table, a dictionary for each row and protocol.
        failed: Runs that could not be pre-trained, with the reasons.
        out: Folder of the files.
    """

    rows: list[dict[str, Any]]
    failed: dict[str, str]
    out: Path


@dataclass(frozen=True)
class Measuring:
    """How encoders are measured.

    Args:
        split: To count; None for the one beside that trained on.
        device: Where to compute.
        precision: In what.
        skip_bad: Whether to go on without malformed clips.
    """

    split: str | None
    device: str
    precision: str
    skip_bad: bool


def sweep_encoders(
    plan: PretrainSweep,
    data: Path | None,
    changes: Mapping[str, Any],
    measuring: Measuring,
    *,
    seeds: Sequence[int] | None,
    jobs: int | None,
    out: Path,
    dry_run: bool = False,
    console: Console,
) -> SweptEncoders | None:
    """Pre-trains every row with every seed, measures the encoders by the protocols, and writes a table and a figure.

    A run that is done is not trained again, one that was stopped goes on, and what was measured is kept.

    Args:
        plan: Rows and what they are measured by.
        data: Skeleton file; None for the newest.
        changes: Settings of all rows, by dotted name, over the plan's.
        measuring: How.
        seeds: None for the plan's.
        jobs: Runs at a time; None for one a GPU, or one a core.
        out: Folder of runs and results.
        dry_run: Whether to list the runs alone.
        console: Where progress is told.

    Returns:
        The table; None of a dry run.

    Raises:
        UsageError: A setting is unknown or wrong, there is no such file or split, none of its clips has a label, or a
            run in the folder had other settings.
        AnnotationError: The file is malformed.
        BackendError: The device is not on this machine.
        TrainingError: No row has a run of every seed.
    """
    place = place_of(measuring.device, measuring.precision)
    # "auto" is another precision on another machine, and another accuracy.
    measuring = dataclasses.replace(measuring, device=place.device, precision="bf16" if place.bf16 else "fp32")
    given = {**changes, **({"data.file": str(data)} if data is not None else {})}
    if measuring.skip_bad:
        given["data.skip_bad"] = True
    listed: dict[str, list[Job]] = {}
    for row in plan.rows:
        listed[row.name] = []
        for seed in seeds or plan.seeds:
            folder = out / RUNS / folder_name(row.name) / f"seed{seed}"
            own = {**given, "training.seed": seed, "out": str(folder)}
            settings = pretrain_settings_of(plan, row, own, place=plan.title)
            listed[row.name].append(Job(f"{row.name}, seed {seed}", settings))
    _check_files(listed, measuring)
    trained = train_rows(listed, jobs=jobs, dry_run=dry_run, console=console)
    if trained is None:
        return None
    whole, failed = trained
    found = _measure_all(plan, whole, measuring, console)
    result = SweptEncoders(_rows(plan, found), failed, out)
    first = next(iter(whole.values()))[0].settings
    made_with = {
        "version": importlib.metadata.version("skelpipe"),
        "settings": given,
        "measured": dataclasses.asdict(measuring),
        "seeds": list(seeds or plan.seeds),
        "data": first.data.file,
    }
    _write(plan, result, made_with)
    return result


def print_encoders(plan: PretrainSweep, result: SweptEncoders, console: Console) -> None:
    """A line for each row: top-1 with its spread, by each protocol."""
    table = Table("row", *plan.protocols, title=Text(plan.title))
    for name, cells in _cells(plan, result).items():
        table.add_row(Text(name), *cells)
    console.print(table)


def _check_files(listed: Mapping[str, Sequence[Job]], measuring: Measuring) -> None:
    """Opens the rows' skeleton files, so that what cannot be measured is told before hours of pre-training.

    Raises:
        UsageError: There is no such file or split, or no clip of it has a label.
        AnnotationError: The file is malformed.
    """
    every = [job.settings.data for jobs in listed.values() for job in jobs]
    # Rows and seeds mostly read the file alike.
    for data in {str(one): one for one in every}.values():
        path = (newest_skeleton_file() if data.file == "auto" else Path(data.file)).resolve()
        shown = shown_as_in(data.model_copy(update={"file": str(path)}), Asked(path))
        labelled_clips(open_clips(path, shown, leave_out_empty=True), shown, measuring.split)


def _measure_all(
    plan: PretrainSweep, listed: Mapping[str, Sequence[Job]], measuring: Measuring, console: Console
) -> dict[tuple[str, str], list[float]]:
    """(row, protocol) -> top-1 of each seed; what an earlier call measured of the same weights alike is read.

    Args:
        plan: Rows and what they are measured by.
        listed: Runs of each row, trained, a seed each.
        measuring: How; its precision is fp32 or bf16.
        console: Where progress is told.
    """
    subjects = [(name, job, False) for name, own in listed.items() for job in own]
    subjects += [(FRESH, job, True) for job in next(iter(listed.values()))] if plan.fresh else []
    found: dict[tuple[str, str], list[float]] = {}
    for name, job, scratch in subjects:
        path, seed = job.folder / MEASURED, job.settings.training.seed
        known, weights = _known(path), sha256_of(pretrained_file(job.folder))
        for protocol in plan.protocols:
            pairs = [*pairs_of(plan.recipe), f"seed={seed}"]
            key = json.dumps([protocol, pairs, measuring.split, scratch, measuring.precision, weights])
            if key not in known:
                console.print(Text(f"{name}, seed {seed}: {protocol}"))
                known[key] = run_protocol(
                    protocol,
                    [job.folder],
                    None,
                    measuring.split,
                    pairs=pairs,
                    scratch=scratch,
                    skip_bad=measuring.skip_bad,
                    device=measuring.device,
                    precision=measuring.precision,
                    console=console,
                )["top1"]
                with atomic_write(path) as file:
                    file.write(json.dumps(known, indent=1).encode())
            found.setdefault((name, protocol), []).append(known[key])
    return found


def _known(path: Path) -> dict[str, float]:
    """What an earlier call measured of a run, by all that it depends on."""
    try:
        return {key: float(value) for key, value in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        # There is none, or it was not written here: all is measured.
        return {}


def _rows(plan: PretrainSweep, found: Mapping[tuple[str, str], list[float]]) -> list[dict[str, Any]]:
    """The table; differences are against its first row, seed by seed."""
    places = {row.name: row.value for row in plan.rows}
    names = list(dict.fromkeys(name for name, _ in found))
    table = []
    for (name, protocol), values in found.items():
        against = found[names[0], protocol]
        differences = [ours - theirs for ours, theirs in zip(values, against, strict=True)]
        table.append(
            {
                "row": name,
                "value": places.get(name),
                "protocol": protocol,
                "top1": fmean(values),
                "spread": _spread(values),
                "seeds": len(values),
                "against": names[0],
                "difference": fmean(differences),
                "difference_spread": _spread(differences),
            }
        )
    return table


def _spread(values: Sequence[float]) -> float | None:
    return stdev(values) if len(values) > 1 else None


def _cells(plan: PretrainSweep, result: SweptEncoders) -> dict[str, list[str]]:
    cells: dict[str, dict[str, str]] = {}
    for row in result.rows:
        spread = "" if row["spread"] is None else f" ± {100 * row['spread']:.1f}"
        cells.setdefault(row["row"], {})[row["protocol"]] = f"{100 * row['top1']:.1f}{spread}"
    return {name: [own[protocol] for protocol in plan.protocols] for name, own in cells.items()}


def _write(plan: PretrainSweep, result: SweptEncoders, made_with: Mapping[str, Any]) -> None:
    lines = ["| top-1 in per cent | " + " | ".join(plan.protocols) + " |", "|---" * (1 + len(plan.protocols)) + "|"]
    lines += [f"| {name} | " + " | ".join(cells) + " |" for name, cells in _cells(plan, result).items()]
    summary = {"sweep": plan.model_dump(mode="json"), **made_with, "failed": result.failed, "table": result.rows}
    files = {
        "sweep.json": json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False).encode(),
        "sweep.csv": as_csv(result.rows).encode(),
        "sweep.md": "\n".join([plan.title, "", *lines, ""]).encode(),
    }
    if plan.axis is not None:
        files |= _figure(plan, result)
    write_results(result.out, files)


def _figure(plan: PretrainSweep, result: SweptEncoders) -> dict[str, bytes]:
    from recognition import robustness_plots as plots

    assert plan.axis is not None
    curves = {}
    for protocol in plan.protocols:
        own = sorted(
            (row for row in result.rows if row["protocol"] == protocol and row["value"] is not None),
            key=lambda row: row["value"],
        )
        if not own:
            raise UsageError(f"the sweep has the axis {plan.axis!r}, and none of its rows a `value` on it")
        curves[protocol] = tuple([row[name] or 0.0 for row in own] for name in ("value", "top1", "spread"))
    figure = plots.levels_figure({"top-1": (plan.axis, curves)}, plan.title)  # type: ignore[dict-item]
    return {f"sweep.{kind}": figure_bytes(figure, kind) for kind in ("png", "svg")}

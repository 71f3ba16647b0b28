"""`skelpipe sweep` for pre-training: train encoders that differ in a few settings, and compare them in one table."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.protocols.clips import ClipSelection, labelled_clips, shown_as_in
from pipeline.protocols.recipe import place_of
from pipeline.protocols.request import ProtocolRequest
from pipeline.protocols.workflow import run_protocol
from pipeline.reporting.tables import as_csv
from pipeline.sweep.encoder_plan import FRESH, PretrainSweep, pairs_of, pretrain_settings_of
from pipeline.sweep.jobs import RUNS, Job, train_rows, write_results
from pipeline.sweep.recognizer_plan import folder_name
from pose_extraction._version import __version__
from pose_extraction.errors import UsageError
from pose_extraction.files import atomic_write, sha256_of
from recognition.data.clips import open_clips
from recognition.data.skeleton_file import skeleton_file_of
from recognition.evaluation.figures import figure_bytes
from recognition.pretraining.encoder import pretrained_file

# File with the measurements of a run, next to it.
MEASURED = "measured.json"


@dataclass(frozen=True)
class SweptEncoders:
    """Results of a sweep.

    Args:
        rows: The table, one dictionary per row and protocol.
        failed: Runs that could not be pre-trained, with the reasons.
        out: Folder of the files.
    """

    rows: list[dict[str, Any]]
    failed: dict[str, str]
    out: Path


@dataclass(frozen=True)
class Measuring:
    """Settings of the encoders' evaluation.

    Args:
        split: Test split; None for the one that matches the training split.
        device: Device of the computation.
        precision: auto, fp32 or bf16.
        skip_bad: Whether to skip malformed clips instead of raising an error.
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
    """Pre-train every row with every seed, evaluate the encoders with the protocols, and write a table and a figure.

    Finished runs are not trained again, interrupted ones are resumed, and existing measurements are reused.

    Args:
        plan: Rows and protocols of the sweep.
        data: Skeleton file; None for the newest.
        changes: Settings for all rows, by dotted name; they override the plan.
        measuring: Settings of the evaluation.
        seeds: Training seeds; None for those of the plan.
        jobs: Number of parallel runs; None for one per GPU, or one per core.
        out: Folder for runs and results.
        dry_run: Whether to list the runs without training.
        console: Receives progress.

    Returns:
        The results; None for a dry run.

    Raises:
        UsageError: A setting is unknown or invalid, there is no such file or split, none of its clips has a label, or a
            run in the folder has other settings.
        AnnotationError: The file is malformed.
        BackendError: The device is not available.
        TrainingError: No row has a run for every seed.
    """
    place = place_of(measuring.device, measuring.precision)
    # Resolve "auto": the precision, and therefore the accuracy, depends on the machine.
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
        "version": __version__,
        "settings": given,
        "measured": dataclasses.asdict(measuring),
        "seeds": list(seeds or plan.seeds),
        "data": first.data.file,
    }
    _write(plan, result, made_with)
    return result


def print_encoders(plan: PretrainSweep, result: SweptEncoders, console: Console) -> None:
    """Print one line per row: top-1 with its standard deviation, for each protocol.

    Args:
        plan: The sweep.
        result: Results of the sweep.
        console: Receives the table.
    """
    table = Table("row", *plan.protocols, title=Text(plan.title))
    for name, cells in _cells(plan, result).items():
        table.add_row(Text(name), *cells)
    console.print(table)


def _check_files(listed: Mapping[str, Sequence[Job]], measuring: Measuring) -> None:
    """Open the skeleton files of the rows, so that errors appear before hours of pre-training.

    Raises:
        UsageError: There is no such file or split, or none of its clips has a label.
        AnnotationError: The file is malformed.
    """
    every = [job.settings.data for jobs in listed.values() for job in jobs]
    # Most rows and seeds read the file in the same way.
    for data in {str(one): one for one in every}.values():
        path = skeleton_file_of(data).resolve()
        shown = shown_as_in(data.model_copy(update={"file": str(path)}), ClipSelection(path))
        labelled_clips(open_clips(path, shown, leave_out_empty=True), shown, measuring.split)


def _measure_all(
    plan: PretrainSweep, listed: Mapping[str, Sequence[Job]], measuring: Measuring, console: Console
) -> dict[tuple[str, str], list[float]]:
    """Return (row, protocol) -> top-1 per seed; reuses earlier measurements of the same weights and settings.

    Args:
        plan: Rows and protocols of the sweep.
        listed: Trained runs of each row, one per seed.
        measuring: Settings of the evaluation; the precision is fp32 or bf16.
        console: Receives progress.
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
                request = ProtocolRequest(
                    protocol=protocol,
                    run=job.folder,
                    split=measuring.split,
                    pairs=pairs,
                    scratch=scratch,
                    skip_bad=measuring.skip_bad,
                    device=measuring.device,
                    precision=measuring.precision,
                )
                known[key] = run_protocol(request, console=console)["top1"]
                with atomic_write(path) as file:
                    file.write(json.dumps(known, indent=1).encode())
            found.setdefault((name, protocol), []).append(known[key])
    return found


def _known(path: Path) -> dict[str, float]:
    """Return earlier measurements of a run, by everything that they depend on."""
    try:
        return {key: float(value) for key, value in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        # Missing, or not written by this program: measure everything.
        return {}


def _rows(plan: PretrainSweep, found: Mapping[tuple[str, str], list[float]]) -> list[dict[str, Any]]:
    """Return the table; differences are relative to its first row, per seed."""
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
    from recognition.robustness import plots

    assert plan.axis is not None
    curves = {}
    for protocol in plan.protocols:
        own = sorted(
            (row for row in result.rows if row["protocol"] == protocol and row["value"] is not None),
            key=lambda row: row["value"],
        )
        if not own:
            raise UsageError(f"the sweep has the axis {plan.axis!r}, but no row has a `value`")
        curves[protocol] = tuple([row[name] or 0.0 for row in own] for name in ("value", "top1", "spread"))
    figure = plots.levels_figure({"top-1": (plan.axis, curves)}, plan.title)  # type: ignore[dict-item]
    return {f"sweep.{kind}": figure_bytes(figure, kind) for kind in ("png", "svg")}

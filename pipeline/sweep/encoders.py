"""`skelpipe sweep` for pre-training: train encoders that differ in a few settings, and compare them in one table."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich.console import Console
from rich.text import Text

from pipeline.cluster.job_actor import Progress
from pipeline.cluster.jobs import ClusterJobs
from pipeline.protocols.clips import ClipSelection, labelled_clips
from pipeline.protocols.recipe import engine_for_protocols
from pipeline.protocols.request import ProtocolRequest
from pipeline.protocols.workflow import run_protocol
from pipeline.sweep.encoder_plan import FRESH, PretrainRow, PretrainSweep, pairs_of, pretrain_settings_of
from pipeline.sweep.job import Job
from pipeline.sweep.jobs import train_rows
from pipeline.sweep.plan import SweepRequest, Swept
from pipeline.sweep.workflow import cluster_of, list_jobs, write_results
from pose_extraction._version import __version__
from pose_extraction.errors import TrainingError, UsageError
from pose_extraction.files import atomic_write, sha256_of
from recognition.data.clips import open_clips
from recognition.data.skeleton_file import skeleton_file_of
from recognition.evaluation.figures import figure_bytes
from recognition.pretraining.encoder import pretrained_file

# File with the measurements of a run, next to it.
MEASURED = "measured.json"


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


def sweep_encoders(plan: PretrainSweep, request: SweepRequest, *, device: str, precision: str) -> Swept | None:
    """Pre-train every row with every seed, evaluate the encoders with the protocols, and write a table and a figure.

    Finished runs are not trained again, interrupted ones are resumed, and existing measurements are reused.

    Args:
        plan: Rows and protocols of the sweep.
        request: What the command line asks for.
        device: Device of the evaluation; "auto", "cpu" or "cuda:N".
        precision: Precision of the evaluation; "auto", "fp32" or "bf16".

    Returns:
        The results; None for a dry run.

    Raises:
        UsageError: A setting is unknown or invalid, there is no such file or split, none of its clips has a label, or a
            run in the folder has other settings.
        AnnotationError: The file is malformed.
        BackendError: The device is not available.
        TrainingError: No row has a run for every seed.
    """
    with cluster_of(request) as cluster:
        return _sweep_encoders(plan, request, device, precision, cluster)


def _sweep_encoders(
    plan: PretrainSweep, request: SweepRequest, device: str, precision: str, cluster: ClusterJobs | None
) -> Swept | None:
    # Resolve "auto": the precision, and therefore the accuracy, depends on the machine.
    if cluster is None:
        engine = engine_for_protocols(device, precision)
    else:
        engine = cluster.ask(engine_for_protocols, cluster.device, precision)
    measuring = Measuring(request.split, engine.device, engine.precision, request.skip_bad)

    def job_of(row: PretrainRow, name: str, own: dict[str, Any]) -> Job:
        return Job(name, pretrain_settings_of(plan, row, own, place=plan.title))

    listed = list_jobs(plan, request, job_of)
    _check_files(listed, measuring)
    trained = train_rows(listed, request, cluster)
    if trained is None:
        return None
    whole, failed = trained
    rows = _rows(plan, _measure_all(plan, whole, measuring, request, cluster))
    result = Swept(plan.title, rows, list(plan.protocols), _cells(plan, rows), failed, request.out)
    summary = {
        "sweep": plan.model_dump(mode="json"),
        "version": __version__,
        "settings": request.settings_of_all_rows(),
        "measured": dataclasses.asdict(measuring),
        "seeds": list(request.seeds or plan.seeds),
        "data": next(iter(whole.values()))[0].settings.data.file,
        "failed": failed,
        "table": rows,
    }
    text = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False)
    write_results(result, text, heads=result.heads, figures=_figure(plan, rows))
    return result


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
        shown = ClipSelection(path).data_settings(data.model_copy(update={"file": str(path)}))
        labelled_clips(open_clips(path, shown, leave_out_empty=True), shown, measuring.split)


@dataclass(frozen=True)
class _Measurement:
    """One protocol of one encoder.

    Args:
        file: File with the measurements of the run.
        key: Everything that the result depends on.
        request: See `ProtocolRequest`.
        title: For messages.
    """

    file: Path
    key: str
    request: ProtocolRequest
    title: str


class _Measurer:
    """Measures encoders: what the actors of a cluster do, too."""

    def prepare(self) -> None:
        """Needs nothing: each protocol loads its own encoder and clips."""

    def do(self, job: _Measurement, progress: Progress) -> float:
        return float(run_protocol(job.request, console=Console(stderr=True))["top1"])


def _measure_all(
    plan: PretrainSweep,
    listed: Mapping[str, Sequence[Job]],
    measuring: Measuring,
    request: SweepRequest,
    cluster: ClusterJobs | None,
) -> dict[tuple[str, str], list[float]]:
    """Return (row, protocol) -> top-1 per seed; reuses earlier measurements of the same weights and settings.

    Args:
        plan: Rows and protocols of the sweep.
        listed: Trained runs of each row, one per seed.
        measuring: Settings of the evaluation; the precision is fp32 or bf16.
        request: What the command line asks for.
        cluster: The connected cluster; None for this machine.

    Raises:
        TrainingError: The actors of the cluster could not measure an encoder.
    """
    subjects = [(name, job, False) for name, own in listed.items() for job in own]
    subjects += [(FRESH, job, True) for job in next(iter(listed.values()))] if plan.fresh else []
    wanted = [
        (name, protocol, _measurement(plan, measuring, name, job, protocol, scratch=scratch))
        for name, job, scratch in subjects
        for protocol in plan.protocols
    ]
    left = [one for _, _, one in wanted if one.key not in _known(one.file)]

    def ended(job: _Measurement, top1: float | None, reason: str | None) -> None:
        if top1 is None:
            raise TrainingError(f"{job.title}: {reason}")
        known = {**_known(job.file), job.key: top1}
        with atomic_write(job.file) as file:
            file.write(json.dumps(known, indent=1).encode())

    if cluster is not None:
        paths = [Path(job.settings.data.file) for own in listed.values() for job in own]
        cluster.run(_Measurer(), [(one, 1.0) for one in left], request.out, paths=paths, ended=ended)
    else:
        for one in left:
            request.console.print(Text(one.title))
            ended(one, _Measurer().do(one, lambda count: None), None)
    found: dict[tuple[str, str], list[float]] = {}
    for name, protocol, one in wanted:
        found.setdefault((name, protocol), []).append(_known(one.file)[one.key])
    return found


def _measurement(
    plan: PretrainSweep, measuring: Measuring, name: str, job: Job, protocol: str, *, scratch: bool
) -> _Measurement:
    """Describe one measurement of one run."""
    seed, weights = job.settings.training.seed, sha256_of(pretrained_file(job.folder))
    pairs = [*pairs_of(plan.recipe), f"seed={seed}"]
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
    key = json.dumps([protocol, pairs, measuring.split, scratch, measuring.precision, weights])
    return _Measurement(job.folder / MEASURED, key, request, f"{name}, seed {seed}: {protocol}")


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


def _cells(plan: PretrainSweep, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        spread = "" if row["spread"] is None else f" ± {100 * row['spread']:.1f}"
        cells.setdefault(row["row"], {})[row["protocol"]] = f"{100 * row['top1']:.1f}{spread}"
    return {name: [own[protocol] for protocol in plan.protocols] for name, own in cells.items()}


def _figure(plan: PretrainSweep, rows: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
    """Draw accuracy over the axis of the sweep; empty if it has none."""
    from recognition.robustness import plots

    if plan.axis is None:
        return {}
    curves = {}
    for protocol in plan.protocols:
        own = sorted(
            (row for row in rows if row["protocol"] == protocol and row["value"] is not None),
            key=lambda row: row["value"],
        )
        if not own:
            raise UsageError(f"the sweep has the axis {plan.axis!r}, but no row has a `value`")
        curves[protocol] = tuple([row[name] or 0.0 for row in own] for name in ("value", "top1", "spread"))
    figure = plots.levels_figure({"top-1": (plan.axis, curves)}, plan.title)  # type: ignore[dict-item]
    return {kind: figure_bytes(figure, kind) for kind in ("png", "svg")}

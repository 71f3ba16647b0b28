"""`skelpipe serve`: checks the options, and starts the service of `pipeline.serve`."""

import ipaddress
import re
import secrets
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from pipeline.commands.help_pages import ACCESS, INPUT, NETWORKS, OUTPUT, SPEED
from pipeline.commands.options import (
    Backend,
    BatchSize,
    Checkpoint,
    DetectorCheckpoint,
    Precision,
    RunDetector,
    RunEstimator,
    engine_of,
)
from pipeline.commands.sharing.runs import run_path
from pose_extraction.engines.torch_extra import require_torch
from pose_extraction.errors import BackendError, UsageError, installing

NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]?)i?B?", re.IGNORECASE)
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def serve(
    videos: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[VIDEO]...",
            help="Videos and folders to process at once; others can be added on the page.",
            show_default="none",
            rich_help_panel=INPUT,
        ),
    ] = None,
    run: Annotated[
        list[str] | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help="Run, exported recognizer, or hf://OWNER/NAME; the first is the default. Repeat for several.",
            show_default="accepted last on the page, else the newest, else `everyday`",
            rich_help_panel=NETWORKS,
        ),
    ] = None,
    estimator: RunEstimator = None,
    detector: RunDetector = None,
    checkpoint: Checkpoint = None,
    detector_checkpoint: DetectorCheckpoint = None,
    allow_agpl: Annotated[
        bool,
        typer.Option(
            "--allow-agpl", help="Let clients use OpenPifPaf (AGPL-3.0).", show_default="no", rich_help_panel=NETWORKS
        ),
    ] = False,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Address to listen on; any other than this machine's own requires --token.",
            rich_help_panel=ACCESS,
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            "--port",
            min=0,
            max=65535,
            metavar="PORT",
            help="Port to listen on; 0: any free one.",
            rich_help_panel=ACCESS,
        ),
    ] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN|auto",
            envvar="SKELPIPE_TOKEN",
            help="Secret that clients must send; auto: a new one, which is printed.",
            show_default="none",
            rich_help_panel=ACCESS,
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Name under which a proxy offers the service. Repeat the option for several.",
            show_default="none",
            rich_help_panel=ACCESS,
        ),
    ] = None,
    allow: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder whose videos clients may name by path. Repeat the option for several.",
            show_default="none",
            rich_help_panel=INPUT,
        ),
    ] = None,
    max_upload: Annotated[
        str, typer.Option(metavar="SIZE", help="Largest upload, such as 500M.", rich_help_panel=INPUT)
    ] = "4G",
    max_frames: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Maximum number of frames of a video; the default is 24 h at 30 per second.",
            rich_help_panel=INPUT,
        ),
    ] = 2_592_000,
    min_rate: Annotated[
        str,
        typer.Option(
            metavar="SIZE",
            help="Minimum speed of uploads, in bytes per second, in each window of 30 s; 0: none.",
            rich_help_panel=INPUT,
        ),
    ] = "4k",
    max_queue: Annotated[
        int, typer.Option(min=1, metavar="N", help="Maximum number of waiting jobs.", rich_help_panel=INPUT)
    ] = 1000,
    max_requests: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="Maximum number of waiting requests for skeletons.", rich_help_panel=INPUT
        ),
    ] = 256,
    data: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder of jobs and results.", rich_help_panel=OUTPUT)
    ] = Path("serve-data"),
    keep: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="DAYS",
            help="Remove jobs without corrections this long after their end.",
            show_default="keep all",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    min_free: Annotated[
        str,
        typer.Option(metavar="SIZE", help="Free disk space below which no job is accepted.", rich_help_panel=OUTPUT),
    ] = "1G",
    drain: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="Time that running jobs have to finish when the service stops.",
            rich_help_panel=OUTPUT,
        ),
    ] = 30.0,
    device: Annotated[
        str,
        typer.Option(metavar="auto|cpu|cuda:0,cuda:1", help="Devices; each has a process.", rich_help_panel=SPEED),
    ] = "auto",
    workers: Annotated[int, typer.Option(min=1, metavar="N", help="Processes per device.", rich_help_panel=SPEED)] = 1,
    batch_size: BatchSize = "auto",
    precision: Precision = "auto",
    backend: Backend = "auto",
) -> None:
    """Serve recognizers over HTTP, with a page to view and correct results."""
    _require_torch_for(run)
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise BackendError(f"skelpipe serve needs {', '.join(missing)}; run {installing('serve')}")
    local = _is_local(host)
    if token == "auto":
        token = secrets.token_urlsafe(24)
    if token is None and not local:
        raise UsageError(f"--host {host}: other machines could use the service; protect it with --token auto")
    if token is not None and len(token) < 16:
        raise UsageError(f"--token: has only {len(token)} characters; use at least 16, or --token auto")
    for name in allow_host or ():
        if not _HOST.fullmatch(name):
            raise UsageError(f"--allow-host {name}: must be a name such as skelpipe.example.org, without port and path")
    for folder in allow or ():
        if not folder.is_dir():
            raise UsageError(f"--allow {folder}: is not a folder; create it, or leave out the option")
    if data.exists() and not data.is_dir():
        raise UsageError(f"--data {data}: is a file; choose a folder, which is created if it does not exist")
    from pipeline.inputs.videos import survey

    given = tuple(source.path.resolve() for source in survey(videos).sources) if videos else ()
    engine = engine_of(device.partition(",")[0], batch_size, precision, backend)
    from pipeline.predict.options import Networks
    from pipeline.serve.catalogue import check_runs
    from pipeline.serve.settings import Pace, ServeSettings

    settings = ServeSettings(
        runs=check_runs([str(run_path(name)) for name in run or []]),
        data=data,
        token=token,
        allow=(*(folder.resolve() for folder in allow or ()), *given),
        videos=given,
        most_upload=_size_of("--max-upload", max_upload),
        most_queued=max_queue,
        most_requests=max_requests,
        most_frames=max_frames,
        pace=Pace(least_rate=_size_of("--min-rate", min_rate)),
        devices=tuple(device.split(",")) * workers,
        engine=engine,
        networks=Networks(estimator, detector, checkpoint, detector_checkpoint),
        keep_days=keep,
        allow_agpl=allow_agpl,
        least_free=_size_of("--min-free", min_free),
        drain_seconds=drain,
        local=local and token is None,
        hosts=tuple(allow_host or ()),
        pinned=bool(run),
    )
    from pipeline.serve.server import listen
    from pipeline.serve.server import serve as run_service

    opened = listen(host, port)
    query = "" if token is None else f"/?token={quote(token, safe='')}"
    typer.echo(f"http://{_shown(host)}:{opened.getsockname()[1]}{query}")
    run_service(settings, opened, lambda line: typer.echo(line, err=True))


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _size_of(option: str, text: str) -> int:
    """Parse a size such as 500M.

    Raises:
        UsageError: It is not a size.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"{option} {text}: must be a size such as 500M or 4G")
    return int(float(found[1]) * _UNITS[found[2].lower()])


def _require_torch_for(runs: list[str] | None) -> None:
    """Check that PyTorch is installed, unless all runs are exported recognizers of other formats.

    Raises:
        BackendError: It is not installed.
        WeightsError: An exported recognizer is damaged.
    """
    from recognition.inference.exported_run import load_exported
    from recognition.runs import is_exported

    for run in runs or ():
        if not is_exported(Path(run)):
            require_torch(f"skelpipe serve --run {run}")
        elif load_exported(Path(run)).format == "torch":
            require_torch(f"--run {run}, a recognizer in the format torch,")
    if not runs:
        require_torch("skelpipe serve")

"""Fixtures for complete runs in milliseconds: tiny networks and synthetic clips."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline.cluster.options import ClusterOptions
from pipeline.extract.settings import ExtractSettings
from pipeline.extract.share import Share
from pipeline.extract.workflow import extract
from test_support.networks.made_runs import SIZE, Run
from test_support.networks.tiny_networks import write_tiny_networks
from test_support.videos.made_video import write_made_clip


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Files of an estimator and a detector."""
    return write_tiny_networks(tmp_path_factory.mktemp("networks"))


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four clips in two class folders, with 0 to 3 persons; read-only."""
    folder = tmp_path_factory.mktemp("made") / "videos"
    for number, (place, frames, persons) in enumerate(
        [("run", 20, 1), ("run", 12, 0), ("wave", 31, 2), ("wave", 9, 3)]
    ):
        write_made_clip(folder / place / f"clip {number} ü.mp4", size=SIZE, frames=frames, persons=persons)
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Directory and skeleton file of a small training run; read-only, except for evaluations."""
    from test_support.networks.trained_run import made_run

    return made_run(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def run(networks: tuple[Path, Path]) -> Callable[..., Run]:
    """Return a function that extracts with the tiny networks: `run(videos, out, labels=..., share=..., **settings)`."""

    def call(
        videos: Any,
        out: str | Path,
        *,
        labels: str = "auto",
        share: Share | None = None,
        cluster: ClusterOptions | None = None,
        **settings: Any,
    ) -> Run:
        estimator, detector = networks
        # fp32 on one processor, so that results do not depend on the machine.
        chosen = {"estimator": str(estimator), "detector": str(detector), "device": "cpu", "backend": "onnxruntime"}
        output = io.StringIO()
        console = Console(file=output, width=400)
        given = [videos] if isinstance(videos, str | Path) else videos
        report = extract(
            given,
            out,
            settings=ExtractSettings(**(chosen | settings)),
            labels=labels,
            share=share,
            console=console,
            cluster=cluster,
        )
        return Run(report, output.getvalue())

    return call

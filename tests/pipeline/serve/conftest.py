"""One service for most tests, with tiny networks."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from test_support.networks.made_runs import SIZE
from test_support.services.running_service import RunningService
from test_support.videos.made_container import repeated
from test_support.videos.made_video import write_made_clip


@pytest.fixture(scope="session")
def words(trained: tuple[Path, Path], networks: tuple[Path, Path]) -> tuple[str | Path, ...]:
    """Options of a service with tiny networks."""
    estimator, detector = networks
    named = ("--run", trained[0], "--estimator", estimator, "--detector", detector)
    return (*named, "--device", "cpu", "--backend", "onnxruntime", "--precision", "fp32")


@pytest.fixture(scope="session")
def walkers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of two persons that browsers can play, 2.4 s long."""
    return write_made_clip(tmp_path_factory.mktemp("walkers") / "walkers.mp4", size=SIZE, frames=60, persons=2)


@pytest.fixture(scope="session")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video that takes longer to process than any test waits for it."""
    folder = tmp_path_factory.mktemp("long")
    return repeated(write_made_clip(folder / "once.mp4", size=SIZE, frames=60, persons=3), folder / "long.mp4", 100)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, words: tuple[str | Path, ...]) -> Iterator[RunningService]:
    """A service that accepts videos below the folder `allowed` next to its data."""
    folder = tmp_path_factory.mktemp("service")
    (folder / "allowed").mkdir()
    with RunningService(folder / "data", *words, "--allow", folder / "allowed") as running:
        yield running

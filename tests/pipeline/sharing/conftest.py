"""A run to share."""

from pathlib import Path

import pytest

from test_support.networks.untrained_run import untrained_run


@pytest.fixture(scope="session")
def own_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Directory and skeleton file of a run with random weights; read-only."""
    return untrained_run(tmp_path_factory.mktemp("own"))

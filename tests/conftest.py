"""Fixtures that every test may use."""

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real clips, skeletons and small networks; not part of the project, so tests skip where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the real clips and networks are not on this machine ({SHARED_DATA.name} folder beside the clone)")
    return SHARED_DATA

"""Fixtures that every test may use."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# Before anything loads torch: threads that wait give the processor away instead of spinning, so that the tests stay
# bearable next to other work. Processes that tests start inherit it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("KMP_BLOCKTIME", "0")

# Where pytest-xdist runs several tests at a time, each computes with one thread.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Property-based tests. On CI, examples are the same in every run; `HYPOTHESIS_PROFILE=thorough` tries many more.
hypothesis.settings.register_profile("default", max_examples=200, deadline=None)
hypothesis.settings.register_profile("ci", max_examples=200, deadline=None, derandomize=True, database=None)
hypothesis.settings.register_profile("thorough", max_examples=10_000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "default"))

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """A browser for all tests that need one: Playwright can be started once in a process."""
    from test_support.services.browser import check_browser, running_browser

    check_browser()
    with running_browser() as running:
        yield running


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real clips, skeletons and small networks; not part of the project, so tests skip where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real clips and networks on this machine ({SHARED_DATA.name} folder next to the clone)")
    return SHARED_DATA


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need data from outside the repository, and start with the files that take longest.

    Then, at the end, no process has to wait for another one. `--no-loadscope-reorder` makes pytest-xdist keep this
    order; by itself it would start with the files that have the most tests.
    """
    slow: Counter[Path] = Counter()
    tests: Counter[Path] = Counter()
    for item in items:
        if "shared_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.real_data)
        slow[item.path] += item.get_closest_marker("slow") is not None
        tests[item.path] += 1
    items.sort(key=lambda item: (not slow[item.path], -tests[item.path]))

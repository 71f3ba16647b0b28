"""Statistics of values in files, compared with NumPy's of the same values in memory."""

import numpy as np
import pytest

from pose_extraction.arrays import mapped, statistics
from pose_extraction.arrays.statistics import Values


@pytest.fixture(autouse=True)
def in_files(tmp_path, monkeypatch):
    """All arrays are in files, and a few of their values are read at a time."""
    monkeypatch.setenv("SKELPIPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(mapped, "LARGE", 0)


def collected(numbers: np.ndarray, dtype: type[np.floating] = np.float64) -> Values:
    values = Values(len(numbers) + 3, dtype)
    for part in np.array_split(numbers, 5):
        values.add(part)
    assert len(values) == len(numbers)
    return values


@pytest.mark.parametrize("length", [1, 2, 3, 100, 1001, 20_000])
@pytest.mark.parametrize("block", [7, 1 << 16])
def test_median(monkeypatch, length, block):
    monkeypatch.setattr(statistics, "VALUES", block if length < 20_000 else 1 << 12)
    rng = np.random.default_rng(length)
    for numbers in (
        rng.exponential(1, length),
        rng.integers(0, 3, length) / 7,
        np.zeros(length),
        1e-310 * rng.random(length),
    ):
        assert collected(numbers).median() == np.median(numbers)


def test_distances_from_a_number(monkeypatch):
    monkeypatch.setattr(statistics, "VALUES", 10)
    numbers = np.random.default_rng(0).exponential(1, 101)
    values = collected(numbers)
    values.subtract(values.median())
    assert values.median() == np.median(np.abs(numbers - np.median(numbers)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("block", [128, 1000, 1 << 16])
def test_mean_has_the_bits_of_numpy(monkeypatch, dtype, block):
    monkeypatch.setattr(statistics, "VALUES", block)
    rng = np.random.default_rng(block)
    for length in (1, 7, 8, 127, 128, 129, 1000, 12_345, 99_999, 250_001):
        numbers = rng.uniform(0, 1, length).astype(dtype)
        assert collected(numbers, dtype).mean() == float(numbers.mean()), length

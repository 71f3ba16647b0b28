"""Arrays in temporary files: they behave like those in memory, and leave nothing behind."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from pose_extraction.arrays.mapped import LARGE, is_mapped, map_array, new_array, release, row_blocks, temporary_file


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the temporary files."""
    monkeypatch.setenv("SKELPIPE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def resident(array: np.ndarray) -> int:
    """Bytes of an array that are in the memory of the process."""
    address = array.ctypes.data
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split()[0]
        if "-" in first and not first.endswith(":"):
            low, high = (int(part, 16) for part in first.split("-"))
            inside = low <= address < high
        elif inside and first == "Rss:":
            return int(line.split()[1]) << 10
    raise AssertionError("the array is nowhere")


def test_only_large_arrays_are_in_files(cache):
    assert not is_mapped(new_array((LARGE - 1,), bool)) and not cache.exists()
    large = new_array((LARGE // 8, 2), np.float32)
    assert is_mapped(large) and is_mapped(large[5:9].T) and not is_mapped(large + 1)
    assert not large.any() and large.flags.writeable and large.flags.aligned
    assert list(cache.iterdir()) == [], "the file has a name"


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="the system does not tell which pages are in memory")
def test_released_pages_leave_the_memory_and_keep_their_content():
    array = new_array((3 * LARGE // 8,), np.float64)
    for rows in row_blocks(len(array), array):
        array[rows] = np.arange(rows.start, rows.stop)
        assert resident(array) >= 8 * (rows.stop - rows.start)
    assert resident(array) == 0
    np.testing.assert_array_equal(array, np.arange(len(array)))
    assert resident(array) == array.nbytes
    release(array[3:4])
    assert resident(array) == 0


@pytest.mark.parametrize("start", [0, 64, 4096, 8256])
def test_an_array_within_a_file_is_read_only(start):
    values = np.arange(1000, dtype=np.float32).reshape(10, 100)
    with temporary_file() as file:
        file.write(bytes(start) + values.tobytes() + b"the end")
        file.flush()
        array = map_array(file, start, values.shape, values.dtype)
    np.testing.assert_array_equal(array, values)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system cannot reserve space")
def test_a_full_disk_is_an_error_when_the_array_is_made(cache, monkeypatch):
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        new_array((LARGE,), bool)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(("length", "blocks"), [(-1, 1), (0, 1), (1, 1), (4096, 1), (4097, 2)])
def test_blocks_contain_every_row_once(length, blocks):
    rows = list(row_blocks(length))
    assert len(rows) == blocks
    assert [row for block in rows for row in range(block.start, block.stop)] == list(range(length))

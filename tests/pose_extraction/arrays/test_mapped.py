"""Arrays in temporary files: they behave like those in memory, and leave nothing behind."""

import os
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from pose_extraction.arrays.mapped import LARGE, is_mapped, map_array, new_array, release, row_blocks, temporary_file
from pose_extraction.arrays.spool import Spool


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


@pytest.mark.slow
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
    file, _ = temporary_file()
    with file:
        file.write(bytes(start) + values.tobytes() + b"the end")
        file.flush()
        array = map_array(file, start, values.shape, values.dtype)
    np.testing.assert_array_equal(array, values)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file can have more than this number of bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


FULL = r"cannot store temporary arrays in .*cache \(File too large\); free space there or set SKELPIPE_CACHE"


@pytest.fixture(params=[True, False])
def reserving(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without the call of the system that reserves space."""
    if not request.param:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not tell which files are open")
@pytest.mark.usefixtures("reserving")
def test_an_array_has_its_space_on_the_disk():
    array = new_array((3, LARGE + 1), bool)
    open_files = [path.stat() for path in list(Path("/proc/self/fd").iterdir()) if path.exists()]
    assert array.nbytes in [file.st_size for file in open_files if 512 * file.st_blocks >= file.st_size]
    assert not array.any()


@pytest.mark.usefixtures("reserving")
def test_a_full_disk_is_an_error_when_the_array_is_made(cache):
    with full_disk(LARGE // 2), pytest.raises(OSError, match=FULL):
        new_array((LARGE,), bool)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("held", [0, 4000])
def test_a_full_disk_is_an_error_when_a_spool_is_written(held):
    spool = Spool(held)
    with full_disk(4000), pytest.raises(OSError, match=FULL):
        for _ in range(2):
            spool.add(np.ones(3000, bool))


def test_without_a_cache_folder_arrays_are_in_the_folder_for_temporary_files(cache, tmp_path, monkeypatch):
    cache.write_text("a file where the folder would be")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    array, spool = new_array((LARGE,), bool), Spool(held=0)
    array[:] = True
    np.testing.assert_array_equal(spool.read(spool.add(array)), array)
    assert is_mapped(array) and list(tmp_path.iterdir()) == [cache]
    with full_disk(1000), pytest.raises(OSError, match=f"in {tmp_path} "):
        new_array((LARGE,), bool)
    monkeypatch.setattr(tempfile, "tempdir", str(cache))
    with pytest.raises(OSError, match=r"arrays in .*cache .*Not a directory.*set SKELPIPE_CACHE"):
        new_array((LARGE,), bool)


@pytest.mark.parametrize("held", [0, 4 * LARGE])
@pytest.mark.parametrize("size", [0, 10, LARGE])
def test_arrays_of_a_spool_are_read_only(held, size):
    spool = Spool(held)
    array = spool.open(spool.add(np.ones(size, bool)))
    assert len(array) == size and array.all() and not array.flags.writeable


@pytest.mark.parametrize(("length", "blocks"), [(-1, 1), (0, 1), (1, 1), (4096, 1), (4097, 2)])
def test_blocks_contain_every_row_once(length, blocks):
    rows = list(row_blocks(length))
    assert len(rows) == blocks
    assert [row for block in rows for row in range(block.start, block.stop)] == list(range(length))

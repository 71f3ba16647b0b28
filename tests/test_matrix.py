"""The script that runs the tests as on other processors: what it sets, counts and reports."""

import subprocess
import sys
from pathlib import Path

import pytest

from test_support import matrix
from test_support.matrix import ROWS, Row, every_row, run, table

ROOT = Path(__file__).resolve().parents[1]
CASES = """
import os

import pytest


def test_that_passes():
    assert os.environ["ONEDNN_MAX_CPU_ISA"] == "AVX2" and os.environ["OMP_NUM_THREADS"] == "1"


def test_that_fails():
    assert os.environ["ATEN_CPU_CAPABILITY"] == "avx2"


def test_that_is_skipped():
    pytest.skip("no data")
"""


@pytest.mark.slow
def test_a_row_runs_the_tests_with_its_limits_and_counts_them(tmp_path: Path) -> None:
    (tmp_path / "test_cases.py").write_text(CASES)
    words = ["-p", "no:zarr", "--rootdir", str(tmp_path), "-c", "/dev/null", str(tmp_path)]
    good = run(Row("good", "AVX2", "avx2", threads=1), words, 60)
    assert (good.passed, good.skipped, good.failed) == (2, 1, []) and good.wall > 0 and good.cpu > 0
    # One process each is enough here.
    words += ["-n", "0"]
    bad = run(Row("bad", "AVX2", "default", threads=1), words, 60)
    assert (bad.passed, bad.skipped, len(bad.failed)) == (1, 1, 1) and "test_that_fails" in bad.failed[0]
    (nothing,) = run(Row("nothing"), [*words, "-k", "no_such_test"], 60).failed
    assert "status 5" in nothing
    text = table([good, bad], {"amx": "amx_bf16"})
    assert "| good | AVX2 | avx2 | 1 | fp32 |  | 2 | 0 | 1 |" in text and "failed on bad: " in text
    assert "this processor lacks amx_bf16" in text


def test_rows_cover_each_limit_with_one_and_two_threads_and_busy_cores() -> None:
    for rows in (ROWS, every_row()):
        assert {row.isa for row in rows} - {""} == set(matrix.ISAS)
        assert {row.width for row in rows} - {""} == set(matrix.WIDTHS)
        assert {row.threads for row in rows} == {1, 2} and {row.busy for row in rows} == {True, False}
        assert {row.precision for row in rows if row.isa} == {"fp32", "bf16"}
        assert len({row.name for row in rows}) == len(rows)


def test_a_row_that_this_processor_cannot_emulate_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "cpu_flags", lambda: {"avx2", "avx512bw"})
    missing = {row.name: row.missing for row in ROWS if row.missing}
    assert missing == {"bf16": "avx512_bf16", "amx": "amx_bf16"}


def test_an_unknown_row_is_named() -> None:
    command = [sys.executable, "test_support/matrix.py", "--rows", "sse"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2 and "--rows sse: the rows are own, " in result.stderr

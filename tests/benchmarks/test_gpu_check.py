"""The check of a GPU, with the smallest networks on a CPU."""

from pathlib import Path

import pytest

from benchmarks import gpu_check

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> gpu_check.Plan:
    return gpu_check.plan_for("cpu", tmp_path_factory.mktemp("gpu"), toy=True)


def test_a_device_equals_itself(plan: gpu_check.Plan) -> None:
    row = gpu_check.equality(plan)[-1]
    assert row.startswith("| vitpose-tiny | 0.0e+00 | 0.000 of ")
    assert int(row.split(" of ")[1].split()[0]) > 0, "without joints nothing is compared"


def test_a_section_that_fails_is_reported_and_the_others_run(
    plan: gpu_check.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: gpu_check.Plan) -> list[str]:
        raise RuntimeError("no such device")

    monkeypatch.setitem(gpu_check.SECTIONS, "extraction", broken)
    text = gpu_check.report(plan, ["extraction", "memory"])
    assert "FAILED: RuntimeError: no such device" in text
    assert "## memory\n\nnot on a CPU" in text


def test_a_benchmark_that_ends_with_an_error_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"recognition_speed\.py ended with status 2"):
        gpu_check.ran("recognition_speed.py", "--no-such-option")

"""The check of a GPU, with the smallest networks on a CPU."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import gpu_check

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> gpu_check.Plan:
    return gpu_check.plan_for("cpu", tmp_path_factory.mktemp("gpu"), toy=True)


def test_a_device_equals_itself(plan: gpu_check.Plan) -> None:
    *_, row = gpu_check.equality(plan)
    assert row.startswith("| vitpose-tiny | 0.0e+00 | 0.000 of ")
    assert int(row.split(" of ")[1].split()[0]) > 0, "without joints nothing is compared"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("crops", ["udp: 32 persons, torch on cpu and OpenCV ", "msra: milliseconds"]),
        ("memory", ["not on a CPU"]),
        ("training", ["plain", "+ bf16"]),
        ("extraction", ["| fp32, equal work | ", "| defaults | "]),
        ("sharing", ["all files are equal"]),
    ],
)
def test_each_section_runs_at_toy_size(plan: gpu_check.Plan, name: str, lines: list[str]) -> None:
    text = gpu_check.report(plan, [name])
    assert not any(word in text for word in ("FAILED", "STOPPED", "NOT MEASURED")), text
    assert all(line in text for line in lines), text


def test_a_section_that_fails_is_reported_and_the_others_run(plan: gpu_check.Plan) -> None:
    text = gpu_check.report(replace(plan, device="nosuch"), ["equality", "memory"])
    assert "## equality\n\n| network |" in text and "\nFAILED: " in text
    assert "## memory\n\nnot on a CPU" in text


def test_the_time_limit_holds_within_a_section_and_what_is_not_measured_is_said(plan: gpu_check.Plan) -> None:
    # Python itself starts in this time, but torch is not imported.
    text = gpu_check.report(plan, ["equality", "training"], seconds=0.3)
    assert "STOPPED after 0 s; the rest was not measured: run it with --only equality" in text
    assert "## training\n\nNOT MEASURED: 0 s are over; run it with --only training" in text


def test_decoding_is_not_measured_where_no_gpu_can_decode(plan: gpu_check.Plan) -> None:
    assert list(gpu_check.decoding(plan)) == ["NOT MEASURED: a GPU is needed"]
    (line,) = gpu_check.decoding(replace(plan, device="cuda:99"))
    assert line.startswith("NOT MEASURED: decoded by the CPU, not the GPU: FFmpeg ")


def test_only_failures_give_a_failing_status(plan: gpu_check.Plan, monkeypatch, tmp_path: Path, capsys) -> None:
    def status(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["gpu_check.py", "--toy", "--out", str(tmp_path / "gpu.md"), *words])
        return gpu_check.main()

    assert status("--device", "cpu", "--only", "memory") == 0
    # The time is over before the section begins.
    assert status("--device", "cpu", "--only", "memory", "--seconds", "0") == 0
    assert "NOT MEASURED" in (tmp_path / "gpu.md").read_text()
    assert status("--device", "cuda:99") == 0
    assert "NOT MEASURED: device cuda:99 does not exist" in capsys.readouterr().out
    assert "cuda:99" in (tmp_path / "gpu.md").read_text()
    monkeypatch.setattr(gpu_check, "without_device", lambda device: "")
    monkeypatch.setattr(gpu_check, "machine", lambda device: device)
    assert status("--device", "nosuch", "--only", "equality") == 1
    assert "\nFAILED: " in (tmp_path / "gpu.md").read_text()


def test_a_benchmark_that_ends_with_an_error_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"recognition_speed\.py ended with status 2"):
        list(gpu_check.ran("recognition_speed.py", "--no-such-option"))

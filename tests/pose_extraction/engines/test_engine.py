"""Devices, backends and precisions: what is chosen automatically, and what is refused."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pose_extraction.engines import devices
from pose_extraction.engines.devices import cpu_count, cpu_has_bf16, parse_devices, resolve_device
from pose_extraction.engines.engine import Engine, parse_engine, resolve_engine, resolve_training_engine
from pose_extraction.errors import BackendError, UsageError


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Pretend that the machine has this many GPUs."""
    return lambda count: monkeypatch.setattr(devices, "cuda_count", lambda: count)


@pytest.mark.parametrize(
    ("arguments", "onnx", "message"),
    [
        (("cpu", "torch", "fp32"), True, "cannot run an ONNX file"),
        (("cpu", "onnxruntime", "fp32"), False, "only ONNX files"),
        (("cpu", "onnxruntime", "bf16"), True, "bf16"),
        (("cpu", "torch", "fp16"), False, "fp16 needs a GPU"),
        (("tpu", "auto", "auto"), False, "tpu"),
        (("cuda:99", "auto", "auto"), False, "cuda:99"),
    ],
)
def test_impossible_placements_are_refused_with_a_remedy(
    arguments: tuple[str, str, str], onnx: bool, message: str
) -> None:
    with pytest.raises(BackendError, match=message):
        resolve_engine(Engine(*arguments), onnx=onnx)


def test_an_engine_that_is_resolved_stays_as_it_is() -> None:
    resolved = resolve_engine(Engine(device="cpu", batch_size=3), onnx=True)
    assert resolve_engine(resolved, onnx=True) == resolved
    assert resolved.batch_size == 3 and "auto" not in resolved.facts().values()


def test_onnx_runtime_computes_in_fp32() -> None:
    assert resolve_engine(Engine("cpu", "onnxruntime"), onnx=True) == Engine("cpu", "onnxruntime", "fp32")


def test_the_automatic_device_is_the_first_gpu_unless_the_backend_supports_none(gpus: Callable[[int], None]) -> None:
    gpus(0)
    assert resolve_device("auto") == "cpu"
    gpus(2)
    assert (resolve_device("auto"), resolve_device("cuda"), resolve_device("cuda:1")) == ("cuda:0", "cuda:0", "cuda:1")
    assert resolve_engine(Engine(backend="openvino", precision="fp32"), onnx=False).device == "cpu"
    with pytest.raises(BackendError, match="cuda:2 does not exist: this machine has 2 CUDA devices"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cudo", "", "cuda:-1"])
def test_unknown_devices_are_refused_by_name(device: str, gpus: Callable[[int], None]) -> None:
    gpus(1)
    with pytest.raises(BackendError, match=f"device '?{device}"):
        resolve_device(device)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("auto", ["auto"]),
        ("cuda:0,1", ["cuda:0", "cuda:1"]),
        ("cuda:0, cuda:3", ["cuda:0", "cuda:3"]),
    ],
)
def test_devices_are_separated_by_commas(text: str, names: list[str]) -> None:
    assert parse_devices(text) == names


@pytest.mark.parametrize("text", ["", "cuda:0,", "cpu,cuda:0", "auto,cpu"])
def test_lists_of_different_devices_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="device"):
        parse_devices(text)


def test_training_uses_several_gpus(gpus: Callable[[int], None]) -> None:
    gpus(3)
    assert resolve_training_engine("cuda:0,2", "fp32") == Engine("cuda:0,2", "torch", "fp32")
    with pytest.raises(BackendError, match="cuda:3 does not exist"):
        resolve_training_engine("cuda:0,3", "fp32")
    with pytest.raises(BackendError, match="unknown device 'cpu,cpu'"):
        resolve_training_engine("cpu,cpu", "fp32")


@pytest.mark.parametrize(("bf16", "expected"), [(True, "bf16"), (False, "fp32")])
def test_the_automatic_precision_is_bf16_where_the_cpu_computes_in_it(
    bf16: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "cpu_has_bf16", lambda: bf16)
    assert resolve_training_engine("cpu", "auto").precision == expected
    assert resolve_engine(Engine("cpu", "torch"), onnx=False).precision == expected


def test_options_outside_their_choices_are_refused() -> None:
    assert parse_engine("cpu", "torch", "bf16", 4) == Engine("cpu", "torch", "bf16", 4)
    with pytest.raises(UsageError, match="--backend tensorrt: must be one of auto, torch"):
        parse_engine("cpu", "tensorrt", "auto")
    with pytest.raises(UsageError, match="--precision int8: must be one of auto, fp32"):
        parse_engine("cpu", "auto", "int8")


@pytest.mark.parametrize("name", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
def test_a_limit_on_instructions_rules_bf16_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for other in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "flags : avx512_bf16 amx_bf16")
    answers = {}
    for limit in ("", "default", "AVX512_CORE_BF16", "AVX512_CORE_AMX", "avx2", "AVX512_CORE"):
        monkeypatch.setenv(name, limit)
        answers[limit] = cpu_has_bf16()
    assert [limit for limit, answer in answers.items() if not answer] == ["avx2", "AVX512_CORE"]


def test_systems_that_do_not_limit_processes_to_cpus_count_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= cpu_count() <= (os.cpu_count() or 1)
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cpu_count() == os.cpu_count()

"""Cost estimate of a run, without the memory and time of a whole batch."""

import itertools

import pytest
import torch

from pose_extraction.errors import TrainingError
from recognition.engine.memory import explain_out_of_memory
from recognition.recognizer import build_recognizer
from recognition.training import sizing
from recognition.training.preparation import prepare
from recognition.training.sizing import measure_cost, size_of
from test_support.clips.made_motions import write_motions
from test_support.processes.training_driver import small_settings


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    file = write_motions(folder / "motions.pkl", clips=32)
    return prepare(small_settings(file, folder / "run", "num_frames=16", "batch_size=16"))


def test_the_size_is_that_of_the_network(prepared):
    recognizer = build_recognizer(prepared.settings.model, num_joints=17, channels=3, num_classes=3)
    parameters = sum(parameter.numel() for parameter in recognizer.parameters())
    assert (size_of(prepared).parameters, size_of(prepared).state_bytes) == (parameters, 16 * parameters)


def test_large_batches_are_measured_in_part_and_scaled(prepared, monkeypatch):
    whole = measure_cost(prepared)
    assert whole.clips == whole.micro_batch == 16
    monkeypatch.setattr(sizing, "MOST_KEPT", {"cpu": 1})
    part = measure_cost(prepared)
    assert (part.clips, part.micro_batch, part.steps) == (2, 16, whole.steps)
    # Almost all memory is per clip, and all clips have one person and 16 frames.
    assert part.activation_bytes == pytest.approx(whole.activation_bytes, rel=0.2)
    monkeypatch.setattr(sizing, "MOST_SECONDS", 0.0)
    assert measure_cost(prepared).clips == 2


def test_waiting_for_a_busy_machine_is_no_cost(prepared, monkeypatch):
    """Otherwise a training next to other work would have fewer epochs than one alone."""
    monkeypatch.setattr(sizing, "perf_counter", itertools.count(0, 10).__next__)
    monkeypatch.setattr(sizing, "process_time", itertools.count(0, 2).__next__)
    cost = measure_cost(prepared)
    assert (cost.phase1, cost.phase2) == (2.0 * cost.micro_batch / cost.clips,) * 2
    # With several threads, the processor time is longer than the step.
    monkeypatch.setattr(sizing, "process_time", itertools.count(0, 20).__next__)
    cost = measure_cost(prepared)
    assert (cost.phase1, cost.phase2) == (10.0 * cost.micro_batch / cost.clips,) * 2


def test_out_of_memory_is_reported_equally_on_cpu_and_gpu():
    with pytest.raises(TrainingError, match=r"^too large$"), explain_out_of_memory("too large"):
        torch.empty(2**60)
    with pytest.raises(RuntimeError, match="shape"), explain_out_of_memory("too large"):
        torch.ones(2) @ torch.ones(3, 3).reshape(2, 5)

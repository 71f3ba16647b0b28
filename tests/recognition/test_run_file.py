"""Run files: safetensors with JSON in the header."""

import json
import struct
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pose_extraction.engines.tensor_file import read_text, write_tensors
from pose_extraction.errors import WeightsError
from recognition import run_file

CONTENT: dict[str, Any] = {
    "skelpipe_run": 1,
    "label_names": ["wave", "größer"],
    "held_out": None,
    "confidence": {"spreads": (0.1, 1 / 3), "distance": {"centre": [0.25, -1e-300]}},
    "model": {"recognizer.a": torch.arange(6.0).reshape(2, 3), "known": torch.tensor([True, False])},
    "training": {
        "optimizer": {
            "state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.randn(2, 3)}, 1: {}},
            "param_groups": [{"betas": (0.9, 0.999), "params": [0, 1]}],
        },
        "random": {"python": (3, (1, 2, 2**32 - 1), None), "torch": {"cpu": torch.ones(4, dtype=torch.uint8)}},
    },
}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def test_content_comes_back_with_its_types_and_equal_content_gives_equal_bytes(tmp_path):
    path, again = tmp_path / "last.safetensors", tmp_path / "again.safetensors"
    run_file.save(path, CONTENT)
    assert same(run_file.load(path), CONTENT)
    run_file.save(again, run_file.load(path))
    assert again.read_bytes() == path.read_bytes()
    assert run_file.is_run_file(path)


def test_other_programs_find_the_weights_by_name(tmp_path):
    run_file.save(tmp_path / "best.safetensors", CONTENT)
    found = load_file(tmp_path / "best.safetensors")
    assert torch.equal(found["model.recognizer.a"], CONTENT["model"]["recognizer.a"])
    text = read_text(tmp_path / "best.safetensors", "skelpipe")
    assert text is not None and json.loads(text)["label_names"] == CONTENT["label_names"]


def test_facts_are_everything_but_weights_and_state(tmp_path):
    run_file.save(tmp_path / "last.safetensors", CONTENT)
    torch.save(CONTENT, tmp_path / "last.pt")
    for name in ("last.safetensors", "last.pt"):
        facts = run_file.load_facts(tmp_path / name)
        assert same(facts, {key: value for key, value in CONTENT.items() if key not in ("model", "training")}), name


def test_a_saved_file_replaces_that_of_an_earlier_version(tmp_path):
    torch.save(CONTENT, tmp_path / "last.pt")
    assert same(run_file.load(tmp_path / "last.pt"), CONTENT)
    run_file.save(tmp_path / "last.safetensors", CONTENT)
    assert [path.name for path in tmp_path.iterdir()] == ["last.safetensors"]


def test_what_a_file_cannot_hold_is_refused_by_name(tmp_path):
    with pytest.raises(TypeError, match=r"training\.sizes\.1: a run file cannot contain set"):
        run_file.save(tmp_path / "last.safetensors", {**CONTENT, "training": {"sizes": [1, {2}]}})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 100_000,
        json.dumps({"skelpipe_run": 1, "model": {"x": {"$tensor": "absent"}}}),
        json.dumps({"skelpipe_run": 1, "model": {"x": {"$tensor": [1]}}}),
        json.dumps({"skelpipe_run": 1, "model": {"$items": [1]}}),
    ],
)
def test_damaged_descriptions_are_refused(tmp_path, text):
    path = tmp_path / "best.safetensors"
    write_tensors(path, {"y": torch.zeros(1)}, ("skelpipe", text))
    with pytest.raises(WeightsError, match=r"best\.safetensors: its description is damaged"):
        run_file.load(path)


def test_weights_of_other_projects_are_no_run_files(tmp_path):
    path = tmp_path / "model.safetensors"
    write_tensors(path, {"y": torch.zeros(1)})
    assert not run_file.is_run_file(path)
    with pytest.raises(WeightsError, match="not a run file of this version"):
        run_file.load(path)
    path.write_bytes(struct.pack("<Q", 5) + b"nonsense")
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        run_file.is_run_file(path)

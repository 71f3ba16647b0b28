"""Files in the safetensors format."""

import json
import struct
from pathlib import Path

import pytest
import torch

from pose_extraction.engines.checkpoints import load_state_dict
from pose_extraction.engines.tensor_file import read_tensors, read_text, write_tensors
from pose_extraction.errors import WeightsError

TENSORS = {
    "b": torch.arange(6, dtype=torch.float16).reshape(2, 3),
    "a.weight": torch.randn(4, 1, 2),
    "count": torch.tensor(7),
    "mask": torch.tensor([True, False, True]),
    "brain": torch.randn(3).to(torch.bfloat16),
    "none": torch.empty(0, 5),
}


def test_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    write_tensors(path, TENSORS, ("made by", "a test"))
    for found in (read_tensors(path), load_state_dict(path)):
        assert found.keys() == TENSORS.keys()
        for name, tensor in TENSORS.items():
            assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name
    assert read_text(path, "made by") == "a test" and read_text(path, "other") is None
    again = tmp_path / "again.safetensors"
    write_tensors(again, dict(reversed(TENSORS.items())), ("made by", "a test"))
    assert again.read_bytes() == path.read_bytes()


def test_tensors_that_share_memory_or_are_transposed_are_written(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    write_tensors(tmp_path / "x.safetensors", {"whole": whole, "part": whole[1], "turned": whole.t()})
    found = read_tensors(tmp_path / "x.safetensors")
    assert torch.equal(found["part"], whole[1]) and torch.equal(found["turned"], whole.t())
    # They do not depend on the file or on each other.
    write_tensors(tmp_path / "x.safetensors", {"whole": whole + 1})
    found["whole"][0, 0] = 7
    assert found["part"].tolist() == [4, 5, 6, 7]


def test_the_layout_is_that_of_the_format(tmp_path: Path) -> None:
    header = {"x": {"dtype": "I16", "shape": [2], "data_offsets": [0, 4]}, "__metadata__": {"format": "pt"}}
    text = json.dumps(header).encode()
    path = tmp_path / "given.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + struct.pack("<hh", -3, 500))
    assert read_tensors(path)["x"].tolist() == [-3, 500]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:20],
        lambda content: content[:-3],
        lambda content: struct.pack("<Q", 10**12) + content[8:],
        lambda content: content.replace(b'"F32"', b'"F99"'),
        lambda content: content.replace(b"[4,1,2]", b"[4,1,3]"),
        # A header that claims terabytes for tensors.
        lambda content: content.replace(b"[4,1,2]", b"[1e9,9]"),
        lambda content: content + b"more",
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, damage) -> None:
    path = tmp_path / "weights.safetensors"
    write_tensors(path, TENSORS)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(WeightsError, match=r"weights\.safetensors: not a readable safetensors file"):
        read_tensors(path)

"""Reading valid, damaged and hostile checkpoints without executing code from them."""

import argparse
import collections
import datetime
import io
import os
import pickle
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pose_extraction.engines.checkpoints import apply_state_dict, load_state_dict
from pose_extraction.engines.openpifpaf_checkpoint import load_openpifpaf_state_dict
from pose_extraction.errors import WeightsError

STATE = {
    "backbone.weight": torch.arange(6.0).reshape(2, 3),
    "backbone.bias": torch.ones(2),
    "head.weight": torch.ones(1),
}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return list(left) == list(right) and all(torch.equal(left[name], right[name]) for name in right)


class Calls:
    """Calls a function when it is unpickled unsafely."""

    def __init__(self, function: Callable, *arguments: Any) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.reduced


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "wrap",
    [lambda s: s, lambda s: {"state_dict": s}, lambda s: {"model": s, "epoch": 3}, lambda s: {"model_pos": s, "lr": 1}],
)
def test_bare_and_wrapped_tensors_are_loaded(tmp_path: Path, wrap: Callable, zipped: bool) -> None:
    path = tmp_path / "weights.pth"
    torch.save(wrap(collections.OrderedDict(STATE)), path, _use_new_zipfile_serialization=zipped)
    assert same(load_state_dict(path), STATE)


def test_checkpoints_with_an_mmengine_log_are_loaded(tmp_path: Path) -> None:
    logging = pytest.importorskip(
        "mmengine.logging", reason="mmengine, which writes such checkpoints, is not installed"
    )
    path = tmp_path / "epoch_210.pth"
    content = {
        "meta": {
            "time": datetime.datetime(2023, 1, 1),
            "took": datetime.timedelta(hours=3),
            "args": argparse.Namespace(seed=1),
            "dataset_meta": {"sigmas": np.full(17, 0.05, np.float32), "best": np.float64(0.75), "count": np.int64(3)},
        },
        "state_dict": collections.OrderedDict(STATE),
        "message_hub": {"log_scalars": {"train/loss": logging.HistoryBuffer([0.5, 0.25], [1, 1])}},
    }
    torch.save(content, path)
    assert same(load_state_dict(path), STATE)


def test_a_prefix_is_stripped_only_on_request(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(STATE, path)
    assert list(load_state_dict(path)) == list(STATE)
    assert list(load_state_dict(path, strip_prefix="backbone.")) == ["weight", "bias"]
    with pytest.raises(WeightsError, match=r"starts with 'module\.'"):
        load_state_dict(path, strip_prefix="module.")


@pytest.mark.parametrize("load", [load_state_dict, load_openpifpaf_state_dict])
@pytest.mark.parametrize(
    "kind", ["zip", "legacy", "pickle", "in the tensors", "in a record", "through getattr", "eval"]
)
def test_hostile_checkpoints_are_refused_without_executing_them(tmp_path: Path, load: Callable, kind: str) -> None:
    sentinel, path = tmp_path / "sentinel", tmp_path / "hostile.pth"
    bomb: Any = Calls(os.system, f"touch '{sentinel}'")
    if kind == "in the tensors":
        bomb = {"state_dict": {"weight": torch.ones(1), "bias": bomb}}
    elif kind == "in a record":
        bomb = {"state_dict": STATE, "meta": argparse.Namespace(hook=[{"deep": bomb}])}
    elif kind == "through getattr":
        # getattr is allowed, but its substitute must not return functions of modules.
        bomb = Calls(getattr, Calls(__import__, "os"), "system")
    elif kind == "eval":
        bomb = Calls(eval, f"open('{sentinel}', 'w')")
    if kind == "pickle":
        path.write_bytes(pickle.dumps(bomb, protocol=2))
    else:
        torch.save(bomb, path, _use_new_zipfile_serialization=kind != "legacy")
    with pytest.raises(WeightsError) as error:
        load(path)
    assert not sentinel.exists()
    assert str(path) in str(error.value)
    refused = {"eval": "eval", "through getattr": "__import__", "pickle": ""}.get(kind, "posix.system")
    assert refused in str(error.value)


def test_the_hostile_file_would_be_executed_by_an_unsafe_reader(tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    pickle.loads(pickle.dumps(Calls(os.system, f"touch '{sentinel}'")))
    assert sentinel.exists()


@pytest.mark.parametrize("load", [load_state_dict, load_openpifpaf_state_dict])
def test_torchscript_archives_are_refused(tmp_path: Path, load: Callable) -> None:
    sentinel = tmp_path / "sentinel"
    old = tmp_path / "tar.pth"
    with tarfile.open(old, "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            data = pickle.dumps(Calls(os.system, f"touch '{sentinel}'"))
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    script = tmp_path / "script.pth"
    torch.jit.script(torch.nn.Linear(2, 2)).save(script)
    for path in (old, script):
        with pytest.raises(WeightsError, match=path.name):
            load(path)
    assert not sentinel.exists()


def test_truncated_and_modified_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    for zipped in (True, False):
        torch.save(STATE, path, _use_new_zipfile_serialization=zipped)
        whole = path.read_bytes()
        for stop in range(0, len(whole) - 64, max(1, len(whole) // 40)):
            path.write_bytes(whole[:stop])
            with pytest.raises(WeightsError, match=path.name):
                load_state_dict(path)
        for place in range(0, len(whole), max(1, len(whole) // 150)):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
            try:
                load_state_dict(path)
            except WeightsError as error:
                assert path.name in str(error)


def test_an_error_does_not_recommend_loading_without_protection(tmp_path):
    path = tmp_path / "x.pt"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match="can be loaded safely") as refusal:
        load_state_dict(path)
    assert "weights_only" not in str(refusal.value)


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {"state_dict": {}},
        {"state_dict": {"w": 3}},
        {"optimizer": 1},
        torch.ones(2),
        {"w": torch.ones(2, device="meta")},
    ],
)
def test_files_without_a_state_dict_are_refused(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(WeightsError, match="no dictionary of tensors"):
        load_state_dict(path)
    with pytest.raises(WeightsError, match="not an OpenPifPaf checkpoint"):
        load_openpifpaf_state_dict(path)


def test_errors_name_missing_files(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.pth", tmp_path, tmp_path / "missing.safetensors"):
        with pytest.raises(WeightsError, match=str(path)):
            load_state_dict(path)


def network() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))


def test_tensors_are_loaded_and_only_listed_extras_are_ignored() -> None:
    source, target = network(), network()
    state = {**source.state_dict(), "data_preprocessor.mean": torch.ones(3, 1, 1)}
    del state["1.num_batches_tracked"]
    report = apply_state_dict(target, state, source="file.pth")
    assert same(target.state_dict(), source.state_dict())
    assert (report.loaded, report.ignored, report.absent) == (6, ["data_preprocessor.mean"], ["1.num_batches_tracked"])
    with pytest.raises(WeightsError, match=r"1 unexpected \(data_preprocessor\.mean\)"):
        apply_state_dict(target, state, source="file.pth", ignore=())
    assert (
        apply_state_dict(target, {**state, "ema.a.b": torch.ones(1)}, source="f", ignore=("data*", "ema.*")).loaded == 6
    )


def test_the_checkpoint_of_another_network_is_refused_and_changes_nothing() -> None:
    target = network()
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    state = {**network().state_dict(), "0.weight": torch.zeros(2, 1, 5, 5), "2.weight": torch.ones(1)}
    del state["0.bias"]
    with pytest.raises(WeightsError) as error:
        apply_state_dict(target, state, source="other.pth")
    for part in (
        "other.pth",
        "1 missing (0.bias)",
        "1 unexpected (2.weight)",
        "0.weight (2, 1, 5, 5) instead of (2, 1, 3, 3)",
    ):
        assert part in str(error.value)
    assert same(target.state_dict(), before)


WRITE_NETWORK = """
import sys, torch
from pose_extraction.networks.composite_fields import load_library
openpifpaf = load_library()
from openpifpaf.plugins.coco import CocoKp
torch.manual_seed(0)
# The modules of the published networks in their order, narrow enough for a test.
base = openpifpaf.network.basenetworks.ShuffleNetV2K("shufflenetv2k16", [2, 2, 2], [8, 16, 16, 16, 16])
metas = CocoKp().head_metas
metas[1].upsample_stride = 2
heads = [openpifpaf.network.heads.CompositeField4(meta, base.out_features) for meta in metas]
shell = openpifpaf.network.nets.Shell(base, heads)
torch.save({"model": shell, "epoch": 350, "meta": {"args": {"lr": 0.1, "device": torch.device("cpu")}}}, sys.argv[1])
torch.save(shell.state_dict(), sys.argv[2])
"""


@pytest.mark.slow
def test_pickled_openpifpaf_networks_are_read_without_openpifpaf(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network_path, state_path = tmp_path / "network.pkl", tmp_path / "state.pth"
    command = [sys.executable, "-c", WRITE_NETWORK, network_path, state_path]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode and "No module named 'openpifpaf'" in made.stderr:
        pytest.skip("openpifpaf, which writes such checkpoints, is not installed")
    assert made.returncode == 0, made.stderr
    for name in ["openpifpaf", *(name for name in sys.modules if name.startswith("openpifpaf."))]:
        monkeypatch.setitem(sys.modules, name, None)  # Importing it would fail from here on.
    checkpoint = load_openpifpaf_state_dict(network_path)
    assert same(checkpoint.state_dict, load_state_dict(state_path))
    assert checkpoint.base_name == "shufflenetv2k16"
    cif, caf = checkpoint.head_metas
    assert (cif["class"], cif["name"], cif["dataset"], cif["base_stride"]) == ("Cif", "cif", "cocokp", 16)
    assert (caf["class"], caf["name"], caf["upsample_stride"]) == ("Caf", "caf", 2)
    assert (len(cif["keypoints"]), len(caf["skeleton"])) == (17, 19)
    with pytest.raises(WeightsError, match=r"refused because the file refers to \S+"):
        load_state_dict(network_path)


def test_pickled_networks_with_other_classes_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "network.pkl"
    torch.save({"model": torch.nn.Sequential(torch.nn.Bilinear(2, 2, 2)), "epoch": 1}, path)
    with pytest.raises(WeightsError, match=r"refers to torch\.nn\.modules\.linear\.Bilinear"):
        load_openpifpaf_state_dict(path)


def test_recursive_networks_are_refused(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1))
    network._modules["again"] = network
    path = tmp_path / "network.pkl"
    torch.save({"model": network, "epoch": 1}, path)
    with pytest.raises(WeightsError, match="nested more than"):
        load_openpifpaf_state_dict(path)


def test_safetensors_of_their_own_package_are_read(tmp_path: Path) -> None:
    writer = pytest.importorskip("safetensors.torch", reason="the package safetensors is not installed")
    path = tmp_path / "weights.safetensors"
    writer.save_file(STATE, path)
    loaded = load_state_dict(path)
    assert loaded.keys() == STATE.keys() and all(torch.equal(loaded[name], STATE[name]) for name in STATE)

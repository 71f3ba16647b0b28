"""Two processes with one part of the batch each compute the same losses, gradients and statistics as a single one."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from recognition.distributed import Shares, find_shares, gather
from recognition.maskclr.objective import MaskCLR
from recognition.recognizer import build_recognizer
from recognition.settings import MaskCLRSettings, ModelSettings
from test_support.networks.tiny_recognizer import NUM_CLASSES, NUM_JOINTS, made_batch, made_objective, part_of

pytestmark = pytest.mark.processor

# For each step: phase, and whether to warm the prototypes. The last step uses prototypes from the earlier ones.
STEPS = [(1, False), (1, True), (1, True), (2, False), (2, False)]
CASES = {
    f"{representation}, {first} + {8 - first}": (first, representation)
    for representation in ("joints", "hidden")
    for first in (4, 3)
}
# STTFormer also has batch normalisation in its blocks.
CASES["STTFormer, 3 + 5"] = (3, "sttformer")


def objective_of(representation: str) -> MaskCLR:
    if representation != "sttformer":
        return made_objective(representation=representation, confidence=0.26)
    torch.manual_seed(0)
    settings = ModelSettings(backbone="sttformer", dim=32, depth=2, hidden=8, dropout=0, max_frames=6)
    recognizer = build_recognizer(settings, num_joints=NUM_JOINTS, channels=3, num_classes=NUM_CLASSES)
    return MaskCLR(recognizer, MaskCLRSettings(), num_classes=NUM_CLASSES).double()


def train(objective: MaskCLR, module: nn.Module, clips: slice) -> dict[str, torch.Tensor]:
    """Run a few steps on this process's clips; return all results."""
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.3)
    result = {}
    for number, (phase, warming) in enumerate(STEPS):
        batch = part_of(made_batch(seed=20), clips)
        optimizer.zero_grad()
        losses = module(batch, phase=phase, epoch=number, warm_prototypes=warming)
        losses.total.backward()
        for name in ("total", "cross_entropy", "sample", "class_loss"):
            result[f"{number} {name}"] = getattr(losses, name).detach()
        assert len(losses.logits) == len(batch)
        result |= {f"{number} {name}": weight.grad.clone() for name, weight in objective.named_parameters()}
        optimizer.step()
    return result | objective.state_dict()


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    results: dict[str, Any] = {}
    for name, (first, representation) in CASES.items():
        objective = objective_of(representation)
        clips = slice(0, first) if rank == 0 else slice(first, 8)
        results[name] = train(objective, DistributedDataParallel(objective), clips)
        objective.eval()
        results[name + " evaluation"] = objective(part_of(made_batch(seed=1), clips), phase=2, epoch=0).total.detach()
    results["unequal use"] = gradient_of_unequal_use(rank)
    torch.save(results, Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()


def gradient_of_unequal_use(rank: int) -> torch.Tensor:
    """Gradient of this process's rows if the processes weight the rows differently."""
    rows = torch.ones(1 + rank, 2, requires_grad=True)
    gathered = gather(rows, find_shares(len(rows), rows.device))
    (gathered * torch.tensor([[1.0], [2.0], [3.0]]) * 10**rank).sum().backward()
    return rows.grad


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("gathering")
    # Start new processes: this one has loaded every engine by now, and forking it has crashed here.
    subprocess.run([sys.executable, __file__, str(folder)], check=True)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_two_processes_equal_one(results: list[dict[str, Any]], name: str) -> None:
    _, representation = CASES[name]
    alone = objective_of(representation)
    expected = train(alone, alone, slice(0, 8))
    assert float(expected["4 class_loss"]) > 0
    assert float(expected["4 sample"]) > 0
    for result in results:
        assert set(result[name]) == set(expected)
        for key, value in expected.items():
            torch.testing.assert_close(
                result[name][key], value, rtol=0, atol=1e-9, msg=lambda text, key=key: key + text
            )


@pytest.mark.slow
def test_evaluation_is_local_to_each_process(results: list[dict[str, Any]]) -> None:
    losses = [float(result["joints, 3 + 5 evaluation"]) for result in results]
    assert losses[0] != losses[1]


@pytest.mark.slow
def test_gradient_is_the_sum_over_processes(results: list[dict[str, Any]]) -> None:
    assert results[0]["unequal use"].tolist() == [[11, 11]]
    assert results[1]["unequal use"].tolist() == [[22, 22], [33, 33]]


def test_single_process_exchanges_nothing() -> None:
    tensor = torch.randn(3, 2)
    shares = find_shares(3, tensor.device)
    assert shares == Shares((3,), 0)
    assert gather(tensor, shares) is tensor
    assert shares.own == slice(0, 3)


def test_place_of_own_clips() -> None:
    assert [Shares((3, 5, 2), rank).own for rank in range(3)] == [slice(0, 3), slice(3, 8), slice(8, 10)]


if __name__ == "__main__":
    multiprocessing.spawn(work, (sys.argv[1],), nprocs=2)

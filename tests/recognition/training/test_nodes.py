"""A training on two nodes with two processes each: torchrun on this machine, killed, and resumed."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic, sleep

import pytest
import torch

from recognition import run_folder, runs
from test_support.clips.made_motions import write_motions

pytestmark = [pytest.mark.slow, pytest.mark.processor, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[3]
NODES, PROCESSES = 2, 2
EPOCHS = 6
SETTINGS = (
    *("num_frames=own", "data.max_frames=16", "model.max_frames=16", "holdout=0.25", "workers=0", "batch_size=8"),
    *("dim=16", "depth=1", "heads=2", "dim_representation=16", "hidden=32", "backbone_lr=0.003", "head_lr=0.003"),
    *(f"phase1_epochs={EPOCHS - 2}", "phase2_epochs=2"),
)


def start(words: Sequence[object]) -> list[subprocess.Popen[bytes]]:
    """Starts the agents of both nodes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    place = ("--nnodes", NODES, "--nproc-per-node", PROCESSES, "--master-addr", "127.0.0.1", "--master-port", port)
    return [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "torch.distributed.run", *map(str, place), "--node-rank", str(node)),
                *("-m", "skelpipe", "train", "--nodes", str(NODES), "--devices", str(PROCESSES), *map(str, words)),
            ],
            env=environment,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        for node in range(NODES)
    ]


def kill_node(agent: subprocess.Popen[bytes]) -> None:
    """Kills an agent and its processes, as a power failure would."""
    mine = [agent.pid, *children_of(agent.pid)]
    for process in mine:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    agent.wait()


def children_of(process: int) -> list[int]:
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(child) for child in text.split()]


def ended(agents: Sequence[subprocess.Popen[bytes]]) -> list[int]:
    try:
        return [agent.wait(timeout=200) for agent in agents]
    finally:
        for agent in agents:
            if agent.poll() is None:
                kill_node(agent)


def epochs_of(run: Path) -> int:
    """Number of epochs in the log of a run."""
    with contextlib.suppress(FileNotFoundError):
        lines = (run / "metrics.jsonl").read_text().splitlines()
        return sum(json.loads(line)["kind"] == "epoch" for line in lines if line.endswith("}"))
    return 0


def test_a_training_on_two_nodes_survives_the_loss_of_a_node(tmp_path: Path) -> None:
    file = write_motions(tmp_path / "motions.pkl", clips=32)
    words = ("--data", file, "--device", "cpu", "--precision", "fp32", *SETTINGS)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert ended(start([*words, "--out", whole])) == [0] * NODES
    agents = start([*words, "--out", broken])
    until = monotonic() + 100
    while epochs_of(broken) < 2 and monotonic() < until:
        sleep(0.01)
    kill_node(agents[1])
    # The other node cannot go on alone.
    assert 0 not in ended(agents)
    assert 1 <= runs.load(broken / run_folder.LAST)["epoch"] < EPOCHS
    assert ended(start(["--resume", broken])) == [0] * NODES
    expected, found = (runs.load(folder / run_folder.LAST) for folder in (whole, broken))
    assert found["epoch"] == EPOCHS
    assert expected["model"].keys() == found["model"].keys()
    for name, value in expected["model"].items():
        assert torch.equal(value, found["model"][name]), name

"""`sweep --engine ray` and `robustness --engine ray` on a small cluster on this machine, whose actors die."""

import os
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from typing import Any

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.cluster.jobs import opened_jobs
from pipeline.cluster.options import ClusterOptions
from pipeline.robustness.workflow import robustness
from pose_extraction.engines.engine import Engine
from pose_extraction.errors import SkelpipeError
from recognition import run_folder, runs
from recognition.robustness.conditions import BenchSettings
from test_support.clips.made_motions import write_motions
from test_support.networks.made_runs import all_files
from test_support.networks.trained_run import made_data
from test_support.services.ray_cluster import small_cluster

# Importing it takes seconds, also where these tests are only collected.
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
pytestmark = [needs_ray, pytest.mark.slow, pytest.mark.processor, pytest.mark.timeout(300)]

BASE = """
data: {num_frames: own, max_frames: 16, holdout: 0.2, random_move: false}
model: {dim: 16, depth: 1, heads: 2, dim_representation: 16, hidden: 32, max_frames: 16, dropout: 0.1}
training: {phase1_epochs: 3, phase2_epochs: 1, batch_size: 8, backbone_lr: 0.003, head_lr: 0.003, device: cpu,
  precision: fp32}
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with small_cluster() as made:
        yield made


@pytest.fixture
def options(cluster: Any) -> ClusterOptions:
    return ClusterOptions(address=cluster.address)


class Noting:
    """Jobs that note in a file which process did them; one kills its actor the first time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def prepare(self) -> None:
        if (self._folder / "refuse").exists():
            raise SkelpipeError("not on this machine")

    def do(self, job: str, progress: Any) -> str:
        with (self._folder / job).open("a") as notes:
            notes.write(f"{os.getpid()}\n")
        if job == "deadly" and len((self._folder / job).read_text().split()) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if job == "hopeless":
            raise ValueError("no hope")
        progress(3)
        return job.upper()


def done_by(folder: Path, job: str) -> list[str]:
    return (folder / job).read_text().split()


def test_the_job_of_a_killed_actor_is_repeated_and_a_hopeless_one_is_given_up(
    options: ClusterOptions, tmp_path: Path
) -> None:
    ended: dict[str, tuple[str | None, str | None]] = {}
    counted: list[int] = []

    def on_end(job: str, result: str | None, reason: str | None) -> None:
        ended[job] = result, reason

    names = ["deadly", "hopeless", "a", "b"]
    with opened_jobs(options, "auto", print) as jobs:
        # By value: the actors cannot import this file.
        jobs.run(
            by_value(Noting(tmp_path)),
            [(name, 1.0) for name in names],
            tmp_path,
            paths=[],
            ended=on_end,
            progress=counted.append,
        )
        (tmp_path / "refuse").touch()
        with pytest.raises(SkelpipeError, match="no actor can start: not on this machine"):
            jobs.run(by_value(Noting(tmp_path)), [("c", 1.0)], tmp_path, paths=[], ended=on_end)
    assert {name: ended[name] for name in ("deadly", "a", "b")} == {
        "deadly": ("DEADLY", None),
        "a": ("A", None),
        "b": ("B", None),
    }
    assert len(set(done_by(tmp_path, "deadly"))) == 2
    assert ended["hopeless"][0] is None and "ValueError: no hope" in str(ended["hopeless"][1])
    assert len(done_by(tmp_path, "hopeless")) == 3
    assert [len(done_by(tmp_path, name)) for name in ("a", "b")] == [1, 1]
    assert sum(counted) == 9
    assert not list(tmp_path.glob(".ray-*")) and not (tmp_path / "c").exists()


def by_value(work: Any) -> Any:
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(__import__(type(work).__module__))
    return work


def sweep(folder: Path, out: str, *words: str) -> Any:
    given = ["sweep", str(folder / "mine.yaml"), "--data", str(folder / "made.pkl"), "--out", str(folder / out)]
    return CliRunner().invoke(app, [*given, "--device", "cpu", "--backend", "torch", *words])


def weights(folder: Path) -> dict[str, Any]:
    return {
        path.relative_to(folder).as_posix(): runs.load(path)["model"] for path in sorted(folder.rglob(run_folder.LAST))
    }


def test_a_sweep_on_a_cluster_has_the_results_of_a_local_one(options: ClusterOptions, tmp_path: Path) -> None:
    made_data(tmp_path / "made.pkl")
    (tmp_path / "base.yaml").write_text(BASE)
    values = {
        "title": "made",
        "base": str(tmp_path / "base.yaml"),
        "seeds": [0],
        "conditions": {"noise": [0.05]},
        "rows": [
            {"name": "none", "set": {"objective": "cross_entropy"}},
            {"name": "random", "set": {"mask": "random", "maskclr.ratio": 0.15}},
        ],
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values))
    thread = Thread(target=kill_a_training, args=(tmp_path / "ray",), daemon=True)
    thread.start()
    there = sweep(tmp_path, "ray", "--engine", "ray", "--address", str(options.address))
    thread.join(5)
    assert not thread.is_alive(), "no training was killed"
    # Two processes with a thread each, as there.
    here = sweep(tmp_path, "local", "--jobs", "2")
    assert there.exit_code == here.exit_code, there.output + here.output
    assert "on a Ray cluster; 1 shared trainings of phase one" in " ".join(there.stderr.split())
    ours, theirs = weights(tmp_path / "local"), weights(tmp_path / "ray")
    assert ours.keys() == theirs.keys() and len(ours) == 3
    for name, one in ours.items():
        assert all(bool((value == theirs[name][key]).all()) for key, value in one.items()), name
    for name in ("sweep.csv", "sweep.md"):
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()
    before = all_files(tmp_path / "ray" / "runs")
    again = sweep(tmp_path, "ray", "--engine", "ray", "--address", str(options.address), "--dry-run")
    assert "on a Ray cluster" in again.stderr and all_files(tmp_path / "ray" / "runs") == before


def test_encoders_are_pretrained_and_measured_on_a_cluster(options: ClusterOptions, tmp_path: Path) -> None:
    write_motions(tmp_path / "made.pkl", clips=48)
    small = {"dim": 16, "depth": 1, "heads": 2}
    values = {
        "title": "made",
        "base": "mamp/custom",
        "set": {
            **{"data.num_frames": 16, "data.part_min_frames": 8, "data.max_persons": 1, "data.flip": 0},
            **{f"model.{name}": value for name, value in small.items()},
            **{"mamp.decoder_depth": 1, "training.epochs": 1, "training.warmup_epochs": 0},
            **{"training.batch_size": 16, "training.device": "cpu", "training.precision": "fp32"},
        },
        "seeds": [0],
        "protocols": ["knn"],
        "rows": [{"name": "90 %", "set": {"mamp.ratio": 0.9}}, {"name": "70 %", "set": {"mamp.ratio": 0.7}}],
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values))
    words = [str(tmp_path / "mine.yaml"), "--data", str(tmp_path / "made.pkl"), "--device", "cpu"]
    here = CliRunner().invoke(app, ["sweep", *words, "--out", str(tmp_path / "local"), "--jobs", "1"])
    there = CliRunner().invoke(
        app, ["sweep", *words, "--out", str(tmp_path / "ray"), "--engine", "ray", "--address", str(options.address)]
    )
    assert (here.exit_code, there.exit_code) == (0, 0), here.output + there.output
    for name in ("sweep.csv", "sweep.md"):
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()


def kill_a_training(out: Path) -> None:
    """Kills the process that trains the shared run."""
    until = monotonic() + 100
    while monotonic() < until:
        if list(out.glob("phase_one/*/*")):
            for process in Path("/proc").iterdir():
                if process.name.isdigit() and b"JobActor.run" in command_line(process):
                    os.kill(int(process.name), signal.SIGKILL)
                    return
        sleep(0.05)


def command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def test_a_benchmark_on_a_cluster_has_the_results_of_a_local_one(
    options: ClusterOptions, trained: tuple[Path, Path], tmp_path: Path
) -> None:
    settings = BenchSettings(repeats=1, steps=2, resamples=100, limit=6, families=("noise", "targeted"))
    engine = Engine("cpu", "torch", "fp32")
    console = Console(stderr=True)
    for out, cluster in (("local", None), ("ray", options)):
        robustness(
            [str(trained[0])],
            [trained[1]],
            "one_test",
            settings=settings,
            engine=engine,
            out=tmp_path / out,
            figures=False,
            console=console,
            cluster=cluster,
        )
    ours, theirs = all_files(tmp_path / "local"), all_files(tmp_path / "ray")
    assert ours.keys() == theirs.keys() and len(ours) > 10
    for name in ours:
        assert name.endswith(".npz") or ours[name] == theirs[name], name
    arrays = {out: [load(path) for path in sorted((tmp_path / out).rglob("*.npz"))] for out in ("local", "ray")}
    for mine, other in zip(arrays["local"], arrays["ray"], strict=True):
        assert mine.keys() == other.keys()
        assert all((mine[name] == other[name]).all() for name in mine)


def load(path: Path) -> dict[str, Any]:
    import numpy as np

    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}

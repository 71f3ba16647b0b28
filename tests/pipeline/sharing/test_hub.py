"""Runs on a hub of models: pushed, predicted with, trained from, offline; and refused if anything is wrong."""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import constants
from safetensors import safe_open
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.commands.sharing.runs import method_and_run
from pipeline.robustness.subjects import read_subjects
from pipeline.serve.catalogue import Catalogue, check_runs
from pose_extraction.files import sha256_of
from recognition import hub as runs_on_hub
from test_support.services.hub_server import Hub, Repository, running_hub

ROOT = Path(__file__).resolve().parents[3]
TOKEN, TARGET = "hf_secretsecretsecret", "hf://lab/gestures"
ADDRESS = "/{repo_id}/resolve/{revision}/{filename}"
CPU = ("--device", "cpu", "--backend", "torch", "--precision", "fp32")


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[Hub]:
    """A hub that this process uses, with an empty cache."""
    with running_hub() as server:
        server.writers.add(TOKEN)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + ADDRESS)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.chdir(tmp_path)
        yield server


def call(*words: object) -> Any:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert TOKEN not in result.output
    return result


def skelpipe(*words: object) -> str:
    result = call(*words)
    assert result.exit_code == 0, result.output
    return result.stdout


def refusal(*words: object) -> str:
    result = call(*words)
    assert result.exit_code in (1, 2), result.output
    return result.stderr


@pytest.fixture
def pushed(hub, own_run) -> str:
    return skelpipe("push", own_run[0], TARGET, "--license", "cc-by-4.0").strip()


def files_of(hub: Hub, branch: str = "main") -> dict[str, bytes]:
    repository = hub.repositories["lab/gestures"]
    return repository.commits[repository.branches[branch]]


def test_only_safetensors_json_and_the_card_are_uploaded_and_nothing_about_this_machine(hub, pushed, own_run, tmp_path):
    files = files_of(hub)
    assert set(files) == {
        ".gitattributes", "README.md", "labels.json", "model.safetensors", "settings.json", "skelpipe.json"
    }  # fmt: skip
    (tmp_path / "model.safetensors").write_bytes(files["model.safetensors"])
    with safe_open(tmp_path / "model.safetensors", "numpy") as opened:
        names, text = list(opened.keys()), opened.metadata()["skelpipe"]
    assert names and all(name.startswith("model.") for name in names)
    for place in (str(own_run[0].parent), str(own_run[1].parent)):
        assert place not in text and not any(place.encode() in content for content in files.values())
    front = yaml.safe_load(files["README.md"].decode().split("---")[1])
    assert front["license"] == "cc-by-4.0"
    commit = hub.repositories["lab/gestures"].branches["main"]
    assert pushed == f"{TARGET}@{commit}"


def test_a_run_on_a_hub_predicts_like_the_run_and_its_revision_is_recorded(hub, pushed, own_run, tmp_path):
    run, data = own_run
    words = ("predict", data, "--split", "one_test", "--json", *CPU)
    own = skelpipe(*words, "--run", run)
    result = call(*words, "--run", TARGET)
    assert result.exit_code == 0, result.output
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert {one.pop("run") for one in answers} == {pushed}
    assert answers == [json.loads(line) for line in own.splitlines()]
    assert f"{TARGET}: using {pushed}" in result.stderr
    found = json.loads(skelpipe("evaluate", TARGET, "--data", data, "--json", "--no-figures", *CPU))
    assert found["run"] == pushed
    # Results are in a folder of the user instead of the cache.
    folder = tmp_path / "runs" / f"lab--gestures-{pushed[-40:][:8]}" / "evaluation" / "made-one_test"
    assert (folder / "evaluation.json").is_file()
    assert "A recognizer of 3 actions" in skelpipe("card", TARGET)


@pytest.mark.slow
def test_training_starts_from_a_run_on_a_hub(hub, pushed, own_run, tmp_path):
    small = ("phase1_epochs=1", "phase2_epochs=0", "warmup_epochs=0", "num_frames=own", "data.max_frames=16")
    skelpipe("train", "--init", TARGET, "--data", own_run[1], "--out", tmp_path / "new", "--device", "cpu", *small)
    settings = yaml.safe_load((tmp_path / "new" / "settings.yaml").read_text())
    assert settings["init"] == pushed


def test_branches_and_revisions(hub, pushed, own_run, tmp_path):
    second = skelpipe("push", own_run[0] / "last.safetensors", TARGET, "--revision", "second").strip()
    assert second != pushed and files_of(hub, "second")["model.safetensors"] != files_of(hub)["model.safetensors"]
    for words, expected in ((TARGET, pushed), (f"{TARGET}@second", second), (pushed, pushed)):
        assert str(runs_on_hub.address_of(runs_on_hub.fetch(runs_on_hub.parse(words)))) == expected
    assert "there is no branch, tag or commit third in lab/gestures" in refusal("card", f"{TARGET}@third")


def test_robustness_and_serving_name_runs_on_a_hub_after_their_repository(hub, pushed):
    (subject,) = read_subjects([method_and_run(TARGET)])
    assert subject.method == f"lab/gestures@{pushed[-40:][:8]}"
    (named,) = read_subjects([method_and_run(f"ours={pushed}")])
    assert named.method == "ours" and named.digest == subject.digest
    assert Catalogue(check_runs([TARGET])).default == "gestures"


def test_the_cache_suffices_without_a_connection(hub, pushed, monkeypatch):
    skelpipe("card", TARGET)
    asked = len(hub.requests)
    skelpipe("card", pushed)
    assert len(hub.requests) == asked, "a revision in the cache needs no connection"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:1" + ADDRESS)
    skelpipe("card", TARGET)
    assert "no connection to the hub, and this revision is not in the cache" in refusal("card", "hf://lab/other")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    skelpipe("card", TARGET)
    assert "hf://lab/other: " in refusal("card", "hf://lab/other")


def changed(hub: Hub, **files: Any) -> None:
    """Commit other files by hand; a dictionary is a manifest."""
    contents = {
        name.replace("_", "."): json.dumps(one).encode() if isinstance(one, dict) else one
        for name, one in files.items()
    }
    hub.repositories["lab/gestures"].commit("main", contents)


def manifest(*files: dict[str, str], version: int = 1) -> dict[str, Any]:
    return {"skelpipe_manifest": version, "files": list(files)}


def test_a_changed_file_is_refused(hub, pushed):
    changed(hub, model_safetensors=files_of(hub)["model.safetensors"][:-1] + b"x")
    assert "model.safetensors has SHA-256" in refusal("card", TARGET)
    # Also a file that was changed in the cache.
    path = runs_on_hub.fetch(runs_on_hub.parse(pushed))
    path.resolve().write_bytes(path.read_bytes() + b"x")
    assert "but its manifest says" in refusal("card", pushed)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["best.pt", "weights.pkl", "../model.safetensors", "a/b.json", ".json", "run.py"])
def test_files_that_could_carry_code_are_refused_and_not_even_downloaded(hub, pushed, name):
    bomb = pickle.dumps(print)
    good = {"name": "model.safetensors", "sha256": "0" * 64}
    changed(hub, skelpipe_json=manifest(good, {"name": name, "sha256": "0" * 64}))
    hub.repositories["lab/gestures"].commit("main", {name: bomb})
    assert f"refused because it lists {name!r}" in refusal("card", TARGET)
    assert not any(request.startswith("GET") and request.endswith(f"/{name}") for request in hub.requests)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "not a readable manifest"),
        (b"[" * 100_000, "not a readable manifest"),
        (b"[]", "not a readable manifest"),
        (b" " * 1_000_001, "more than 1000000 bytes"),
        (json.dumps(manifest(version=2)).encode(), "update skelpipe"),
        (json.dumps(manifest({"name": "labels.json", "sha256": "0"})).encode(), "expected model.safetensors"),
        (json.dumps({"skelpipe_manifest": 1, "files": [{"name": 1}]}).encode(), "not a readable manifest"),
    ],
)
def test_damaged_manifests_are_refused(hub, pushed, content, reason):
    changed(hub, skelpipe_json=content)
    assert reason in refusal("card", TARGET)


def test_a_model_of_another_project_is_refused(hub):
    hub.repositories["lab/bert"] = Repository()
    hub.repositories["lab/bert"].commit("main", {"model.safetensors": b"x"})
    assert "is not a run of skelpipe" in refusal("card", "hf://lab/bert")


def test_weights_that_are_not_a_run_are_refused(hub, pushed, tmp_path):
    (tmp_path / "x").write_bytes(b"nonsense")
    changed(
        hub,
        model_safetensors=b"nonsense",
        skelpipe_json=manifest({"name": "model.safetensors", "sha256": sha256_of(tmp_path / "x")}),
    )
    assert "not a readable safetensors file" in refusal("card", TARGET)


def test_private_runs_need_a_token(hub, own_run, monkeypatch):
    skelpipe("push", own_run[0], TARGET, "--private")
    assert hub.repositories["lab/gestures"].private
    skelpipe("card", TARGET)
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", constants.HF_HUB_CACHE + "2")
    assert "does not exist, or is private" in refusal("card", TARGET)
    assert "refuses permission (403)" in refusal("push", own_run[0], TARGET)
    monkeypatch.delenv("HF_TOKEN")
    assert "hf auth login" in refusal("push", own_run[0], TARGET)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("push", "everyday", "lab/gestures"), "must be hf://OWNER/NAME"),
        (("push", "everyday", f"{TARGET}@second"), "name the branch with --revision second"),
        (("card", "hf://gestures"), "must be hf://OWNER/NAME or hf://OWNER/NAME@REVISION"),
        (("card", "hf://lab/gestures@"), "must be hf://OWNER/NAME or"),
        (("card", "hf://lab/-gestures--"), "is not a valid name on the hub"),
        (("push", "nosuch", TARGET), "nosuch: no such run"),
    ],
)
def test_wrong_usage(hub, words, message):
    assert message in refusal(*words)


def test_without_the_library_the_extra_is_named(hub, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "pip install '.[hub]' in the checkout" in refusal("card", TARGET)


@pytest.mark.slow
def test_the_endpoint_and_the_token_of_the_environment_are_used(hub, own_run, tmp_path):
    """In a process of its own, without changes of huggingface_hub."""
    environment = os.environ | {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_TOKEN": TOKEN,
        "HF_HUB_DISABLE_XET": "1",
        "PYTHONPATH": str(ROOT),
    }
    environment.pop("HF_HUB_CACHE", None)
    for words in (("push", str(own_run[0]), TARGET), ("card", TARGET)):
        result = subprocess.run(
            [sys.executable, "-m", "skelpipe", *words], env=environment, capture_output=True, text=True, cwd=tmp_path
        )
        assert result.returncode == 0, result.stderr
        assert TOKEN not in result.stdout + result.stderr
    assert "# gestures" in result.stdout

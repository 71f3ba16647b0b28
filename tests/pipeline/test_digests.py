"""Digests of results: a release that finds the same poses leaves them as they are."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.extract import plan as extract_plan
from pipeline.extract.plan import ExtractionPlan
from pipeline.extract.settings import ExtractSettings
from pipeline.inputs.labels import ClipLabel
from pipeline.inputs.videos import Source
from pose_extraction import _version
from pose_extraction.engines.engine import Engine
from pose_extraction.networks.identity import NetworkIdentity


@pytest.fixture
def plan(tmp_path: Path) -> ExtractionPlan:
    engine = Engine("cpu", "onnxruntime", "fp32")
    network = NetworkIdentity("mine", "estimator", "0123abcd", engine, None, tmp_path / "mine.onnx", 0)
    clips = {"a": [ClipLabel("a", "wave"), ClipLabel("a_2", None, start=1.0, end=2.5)]}
    return ExtractionPlan(ExtractSettings(), network, None, tmp_path / "skeletons", clips)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"not a video, but a digest does not need one")
    return Source(path, "a", "a.mp4")


def test_results_of_this_format_of_poses_are_still_done(
    plan: ExtractionPlan, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The version of ONNX Runtime is a part of the digest on purpose; here it must not depend on the installed one.
    monkeypatch.setattr("pose_extraction.networks.identity._version", lambda module: "1.0")
    assert tuple(plan.digest_of(source).split("-")) == (
        "a34b51ec1c8d9928fef1cf7239b66d34c8fc81ecc0f65666866e177ac802f7e4",
        "9d2b1df1c2ffbde8e22ce902c36405da93c3dcaba9618d3053da1c7245a1bcd2",
    )


def test_another_version_of_the_package_leaves_digests_alone(
    plan: ExtractionPlan, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = plan.digest_of(source)
    monkeypatch.setattr(_version, "__version__", "9.9.9")
    assert plan.digest_of(source) == before


def test_another_format_of_poses_changes_digests(
    plan: ExtractionPlan, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = plan.digest_of(source)
    monkeypatch.setattr(extract_plan, "_POSES_FORMAT", "next")
    assert plan.digest_of(source) != before


@pytest.mark.parametrize(("estimator", "changes"), [("blazepose", True), ("vitpose", False)])
def test_other_times_of_restarts_change_the_digests_of_the_estimator_that_follows_persons(
    plan: ExtractionPlan, source: Source, monkeypatch: pytest.MonkeyPatch, estimator: str, changes: bool
) -> None:
    def digest() -> str:
        return replace(plan, settings=ExtractSettings(estimator=estimator)).digest_of(source)

    before = digest()
    monkeypatch.setattr(extract_plan, "RESTART_SECONDS", 60.0)
    assert (digest() != before) == changes

"""The model table compared with the indexes of the packages."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pose_extraction.errors import UsageError, WeightsError
from pose_extraction.networks import model_zoo
from pose_extraction.networks.model_zoo import ModelEntry, all_models, digest_in_name, lookup
from pose_extraction.networks.names import detector_of
from pose_extraction.networks.openmmlab import mmlab


@pytest.fixture
def without_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate missing extras."""
    monkeypatch.setattr(model_zoo, "_package_folder", lambda package: None)
    model_zoo._entries.cache_clear()
    yield
    model_zoo._entries.cache_clear()


@pytest.mark.parametrize(
    ("name", "kind", "in_file_name"),
    [
        ("vitpose", "estimator", "ViTPose-base-simple"),
        ("vitpose-s", "estimator", "ViTPose-small-simple"),
        ("vitpose-l", "estimator", "ViTPose-large-simple"),
        ("vitpose-h", "estimator", "ViTPose-huge-simple"),
        ("hrnet", "estimator", "hrnet-w32_8xb64-210e_coco-256x192"),
        ("hrnet-w32-384x288", "estimator", "hrnet-w32_8xb64-210e_coco-384x288"),
        ("hrnet-w48", "estimator", "hrnet-w48_8xb32-210e_coco-256x192"),
        ("hrnet-w48-384x288", "estimator", "hrnet-w48_8xb32-210e_coco-384x288"),
        ("openpifpaf", "estimator", "shufflenetv2k16-"),
        ("openpifpaf-shufflenetv2k30", "estimator", "shufflenetv2k30-"),
        ("rtmdet", "detector", "rtmdet_m_8xb32-100e_coco-obj365-person"),
        ("rtmdet-nano", "detector", "rtmdet_nano_8xb32-100e_coco-obj365-person"),
        ("rtmdet-tiny", "detector", "rtmdet_tiny_"),
        ("rtmdet-s", "detector", "rtmdet_s_"),
        ("rtmdet-m", "detector", "rtmdet_m_8xb32-300e_coco_"),
        ("rtmdet-l", "detector", "rtmdet_l_"),
        ("RTMDet-X", "detector", "rtmdet_x_"),
        ("faster-rcnn", "detector", "faster_rcnn_r50_fpn_1x_coco"),
    ],
)
def test_names_resolve_to_official_files(name: str, kind: str, in_file_name: str) -> None:
    entry = lookup(name, kind)
    assert in_file_name in entry.filename
    assert entry.kind == kind
    assert (entry.person_class == 0) == (kind == "detector")


def test_the_most_similar_name_of_the_same_kind_is_suggested() -> None:
    with pytest.raises(UsageError, match=r"'vitpos-s'.*did you mean 'vitpose-s'"):
        lookup("vitpos-s")
    with pytest.raises(UsageError, match="unknown estimator 'rtmdet'"):
        lookup("rtmdet", "estimator")


def test_all_files_have_https_and_digest_and_names_are_unique() -> None:
    entries = all_models()
    names = [(entry.kind, name) for entry in entries for name in (entry.name, *entry.aliases)]
    assert len(names) == len(set(names))
    assert len({entry.name for entry in entries}) == len(entries)
    for entry in entries:
        if entry.shipped is not None or entry.wheel is not None:
            assert (entry.url, entry.digest, entry.ap) == ("", "", None)
            continue
        if entry.url.startswith("hf://") or entry.url.endswith(".zip"):
            # The hub names no digest in the address; that of an archive belongs to another file.
            assert entry.digest == ""
        else:
            assert entry.url.startswith("https://")
            assert re.fullmatch("[0-9a-f]{8}", entry.digest)
        assert 0.3 < entry.ap < 0.8
    with pytest.raises(WeightsError, match="no digest"):
        digest_in_name("https://example.org/weights.pth")


def test_files_in_a_wheel_have_full_digests_and_one_name_means_estimator_and_detector() -> None:
    estimator, detector = lookup("blazepose", "estimator"), lookup("blazepose", "detector")
    assert lookup("blazepose") == estimator and estimator.wheel == detector.wheel
    assert len(estimator.wheel.files) == 2
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in estimator.wheel.files.values())


@pytest.mark.parametrize(
    ("estimator", "detector", "used"),
    [
        ("vitpose", "auto", "rtmdet"),
        ("vitpose", "blazepose", "blazepose"),
        ("rtmpose", "auto", "yolox-m"),
        ("rtmpose-s", "auto", "yolox-tiny"),
        ("rtmpose-s", "rtmdet", "rtmdet"),
        ("pose.onnx", "auto", "rtmdet"),
        ("pose.onnx", "boxes.onnx", "boxes.onnx"),
        ("openpifpaf", "auto", None),
        ("openpifpaf", "rtmdet", None),
        ("BlazePose", "auto", None),
        ("blazepose", "blazepose", None),
        ("blazepose", "rtmdet-s", "rtmdet-s"),
    ],
)
def test_the_detector_follows_from_the_estimator(estimator: str, detector: str, used: str | None) -> None:
    assert detector_of(estimator, detector) == used


def _comparable(entry: ModelEntry) -> tuple:
    return entry.name, entry.url, entry.config, entry.ap


def test_the_table_agrees_with_the_installed_indexes(request: pytest.FixtureRequest) -> None:
    for package in ("mmpose", "mmdet", "openpifpaf"):
        if model_zoo._package_folder(package) is None:
            pytest.skip(f"{package} is not installed")
    from_indexes = [_comparable(entry) for entry in all_models()]
    request.getfixturevalue("without_packages")
    assert [_comparable(entry) for entry in all_models()] == from_indexes


@pytest.mark.usefixtures("without_packages")
def test_models_are_listed_without_their_packages() -> None:
    assert lookup("vitpose-s").ap == 0.736


def test_the_index_takes_precedence_over_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = lookup("hrnet")
    folder = tmp_path / ".mim" / Path(entry.config).parent
    folder.mkdir(parents=True)
    index_name = Path(entry.config).stem
    (tmp_path / ".mim" / "model-index.yml").write_text(f"Import:\n- {Path(entry.config).parent}/hrnet.yml\n")
    (folder / "hrnet.yml").write_text(
        f"Models:\n- Name: {index_name}\n  Config: {entry.config}\n  Weights: http://example.org/new-0123abcd_20300101.pth\n"
        "  Results:\n  - Metrics: {AP: 0.9}\n"
    )
    monkeypatch.setattr(model_zoo, "_package_folder", lambda package: tmp_path)
    model_zoo._entries.cache_clear()
    try:
        newer = lookup("hrnet")
    finally:
        model_zoo._entries.cache_clear()
    assert (newer.url, newer.digest, newer.ap) == ("https://example.org/new-0123abcd_20300101.pth", "0123abcd", 0.9)


def test_listing_models_imports_no_network_packages() -> None:
    code = (
        "import sys; from pose_extraction.networks.model_zoo import all_models; all_models();"
        "print([m for m in ('torch', 'mmpose', 'mmdet', 'mmengine', 'openpifpaf') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_configurations_are_found_in_the_installed_packages() -> None:
    if model_zoo._package_folder("mmpose") is None or model_zoo._package_folder("mmdet") is None:
        pytest.skip("mmpose and mmdet are not installed")
    for entry in all_models():
        if entry.family in ("mmpose", "mmdet"):
            config = mmlab.shipped_config(entry.package, entry.config)
            assert config.is_file() and config.suffix == (".yaml" if entry.shipped else ".py")

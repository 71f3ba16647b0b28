"""Settings: validation, error messages and lookup of configs."""

from pathlib import Path

import pytest

from pipeline.config import find_config, parse, read_config, shipped_configs
from pipeline.extract.settings import ExtractSettings, parse_settings
from pipeline.sweep.encoder_plan import is_pretrain_sweep, read_pretrain_sweep
from pipeline.sweep.recognizer_plan import read_sweep
from pose_extraction.errors import UsageError
from recognition.pretraining.settings import PretrainSettings
from recognition.settings import RunSettings


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"estimater": "hrnet"}, "unknown setting 'estimater'; did you mean 'estimator'?"),
        ({"zzz": 1}, "unknown setting 'zzz'"),
        ({"stride": 0}, "stride: must be at least 1 (got 0)"),
        ({"precision": "int8"}, "precision: must be 'auto', 'fp32'"),
        ({"batch_size": "few"}, "batch_size: must be 'auto' or an integer (got 'few')"),
        ({"workers": 0}, "workers: must be 'auto' or at least 1 (got 0)"),
        ({"start": 2, "end": 2}, "end 2.0 s is not after start 2.0 s"),
        ({"detection_threshold": 1.0}, "detection_threshold: "),
        ({"tiles": "always"}, "tiles always: has no effect, because rtmdet finds the persons"),
        (
            {"estimator": "openpifpaf", "tiles": "never"},
            "tiles never: has no effect, because openpifpaf finds",
        ),
        (
            {"estimator": "blazepose", "detector": "yolox", "tiles": "always"},
            "only blazepose searches tiles; omit it, or the detector yolox",
        ),
    ],
)
def test_invalid_settings_are_refused_with_their_origin(values, words):
    with pytest.raises(UsageError) as refusal:
        parse_settings(values, place="here")
    assert str(refusal.value).startswith("here: ")
    assert words in str(refusal.value)


@pytest.mark.parametrize("path", sorted(shipped_configs().rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_config_is_valid_and_documents_its_command(path):
    name = path.relative_to(shipped_configs()).with_suffix("").as_posix()
    assert find_config(name) == path
    if name.startswith("ablations/"):
        assert (read_pretrain_sweep(name)[0] if is_pretrain_sweep(name) else read_sweep(name)).rows
        assert path.read_text().startswith(f"# skelpipe sweep {name} ")
        return
    if name.startswith(("mamp/", "pcm3/")) and not name.endswith("/finetune"):
        assert parse(read_config(name, PretrainSettings), PretrainSettings, place=name)
        assert path.read_text().startswith(f"# skelpipe pretrain {name} ")
        return
    extracts = name.startswith("extract/")
    assert read_config(name, ExtractSettings if extracts else RunSettings)
    command = f"# skelpipe extract --config {name} " if extracts else f"# skelpipe train {name} "
    assert path.read_text().startswith(command)


def test_a_config_by_path_takes_precedence_over_a_shipped_one(tmp_path, monkeypatch):
    (tmp_path / "extract").mkdir()
    (tmp_path / "extract" / "accurate").write_text("stride: 2\n")
    monkeypatch.chdir(tmp_path)
    assert read_config("extract/accurate", ExtractSettings) == {"stride": 2}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("- stride\n", "contains a list, not settings"),
        ("stride: [1\n", r"cannot be read as YAML \(line 2, column 1: expected"),
        (b"\xff\xfe\x00", "cannot be read as YAML"),
        ("!!python/object/apply:os.system ['touch ran']\n", "cannot be read as YAML"),
        ("my-stride: 1\n", "unknown setting 'my-stride'; did you mean 'stride'"),
        ("stride: !!timestamp soon\n", "a value is not of its type"),
        ("start: " + "9" * 5000 + "\n", "a value is not of its type"),
        ("stride: " + "[" * 1000, "nested too deeply"),
        ("start: .inf\n", "start: .*finite"),
        ("extends: [custom]\n", "extends: must be the name or the path of a config"),
        (f"extends: {'a' * 300}\n", "unknown config a+"),
        ("0\n", "contains a int, not settings"),
    ],
)
def test_an_invalid_config_is_refused(tmp_path, monkeypatch, content, words):
    monkeypatch.chdir(tmp_path)
    path = Path("mine.yaml")
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError, match=words) as refusal:
        read_config("mine.yaml", ExtractSettings)
    assert "mine.yaml" in str(refusal.value)
    assert not Path("ran").exists()


def test_options_may_choose_the_network_for_the_tiles_of_a_config(tmp_path):
    (tmp_path / "tiles.yaml").write_text("tiles: always\n", encoding="utf-8")
    values = read_config(str(tmp_path / "tiles.yaml"), ExtractSettings)
    assert parse_settings(values | {"estimator": "blazepose"}, place=None).tiles == "always"
    assert parse_settings(values | {"detector": "blazepose"}, place=None).tiles == "always"


def test_only_settings_that_affect_poses_cause_a_new_extraction():
    of_networks = {"estimator", "detector", "checkpoint", "detector_checkpoint", "device", "backend", "precision"}
    of_speed_and_place = {"batch_size", "chunk", "overlay", "workers"}
    # Of BlazePose alone, and parts of the identities.
    of_networks |= {"tiles", "builder"}
    # Only another value than the default can affect poses.
    assert ExtractSettings(decoder="cuda").shaping() == ExtractSettings().shaping() | {"decoder": "cuda"}
    of_networks |= {"decoder"}
    # The first ones are part of the networks' identities; the others do not change results.
    shaping = set(ExtractSettings.model_fields) - of_networks - of_speed_and_place
    assert set(ExtractSettings().shaping()) == shaping

"""Settings of `skelpipe train` and `skelpipe pretrain`: a config, and changes from the command line.

Nothing here loads torch for a new run, so that wrong usage is reported at once.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pipeline.config import changed, parse, read_config, split_words
from pose_extraction.engines.devices import parse_devices
from pose_extraction.errors import UsageError, WeightsError
from pose_extraction.formats.pickles import check_readable
from recognition import runs
from recognition.data.skeleton_file import skeleton_file_of
from recognition.pretraining.settings import PretrainSettings
from recognition.settings import AUTO, RunSettings

# Configs used if none is named.
TRAIN_CONFIG, PRETRAIN_CONFIG = "custom", "mamp/custom"
COMMAND_LINE = "the command line"

Settings = TypeVar("Settings", RunSettings, PretrainSettings)


def train_settings(words: Sequence[str], options: Mapping[str, Any]) -> RunSettings:
    """Resolves the settings of a new training.

    Args:
        words: Positional arguments of the command line: optionally a config, and `key=value` pairs.
        options: Values by dotted name; None for options that were not given.

    Raises:
        UsageError: The config does not exist, or a setting is unknown or invalid.
    """
    return _settings_of_new(RunSettings, TRAIN_CONFIG, words, options)


def pretrain_settings(words: Sequence[str], options: Mapping[str, Any]) -> PretrainSettings:
    """Resolves the settings of a new pre-training; see `train_settings`."""
    return _settings_of_new(PretrainSettings, PRETRAIN_CONFIG, words, options)


def _settings_of_new(kind: type[Settings], default: str, words: Sequence[str], options: Mapping[str, Any]) -> Settings:
    config, pairs = split_words(words)
    values = read_config(config or default, kind)
    return parse(changed(values, pairs, options, kind), kind, place=COMMAND_LINE)


def resumed_train_settings(run: Path, words: Sequence[str], options: Mapping[str, Any]) -> RunSettings:
    """Resolves the settings of a resumed training: its stored settings, with changes from the command line.

    Args:
        run: Run directory.
        words: `key=value` pairs of the command line.
        options: Values by dotted name; None for options that were not given.

    Raises:
        UsageError: A config, a directory or initial weights are given, or a setting is unknown or invalid.
        WeightsError: The run cannot be read, or is a pre-training.
    """
    return _settings_of_resumed(RunSettings, "train", run, words, options)


def resumed_pretrain_settings(run: Path, words: Sequence[str], options: Mapping[str, Any]) -> PretrainSettings:
    """Resolves the settings of a resumed pre-training; see `resumed_train_settings`."""
    return _settings_of_resumed(PretrainSettings, "pretrain", run, words, options)


def _settings_of_resumed(
    kind: type[Settings], command: str, run: Path, words: Sequence[str], options: Mapping[str, Any]
) -> Settings:
    config, pairs = split_words(words)
    if config is not None:
        raise UsageError(f"a resumed run keeps its own settings; leave out {config!r}")
    if options.get("init") is not None or any(pair.startswith(("init=", "out=")) for pair in pairs):
        raise UsageError(
            f"{run}: a resumed run keeps its weights and its directory; leave out init and out, or start a new run "
            "without --resume"
        )
    content = runs.load_facts(runs.run_file(run, "last"))
    own = "pretrain" if "method" in content else "train"
    if own != command:
        raise WeightsError(f"{run}: this is a run of `skelpipe {own}`; resume it with `skelpipe {own} --resume {run}`")
    values = changed(content["settings"], pairs, {**options, "out": None}, kind)
    return parse(values, kind, place=COMMAND_LINE)


def check_files(settings: RunSettings | PretrainSettings) -> None:
    """Checks that the files of a new run exist, and the name of its device, before anything that takes seconds to load.

    Args:
        settings: Settings of the run.

    Raises:
        UsageError: No file is given, and `skelpipe extract` has written none; or the device is of no known kind.
        AnnotationError: The skeleton file cannot be opened.
        WeightsError: The initial weights do not exist.
    """
    parse_devices(settings.training.device)
    check_readable(skeleton_file_of(settings.data))
    if isinstance(settings, RunSettings) and settings.init not in (None, AUTO):
        runs.run_file(settings.init)

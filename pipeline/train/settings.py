"""Settings of `skelpipe train` and `skelpipe pretrain`: a config, and changes from the command line.

Nothing here loads torch for a new run, so that wrong usage is reported at once.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.config import changed, parse, read_config, split_words
from pose_extraction.errors import UsageError, WeightsError
from pose_extraction.formats.pickles import check_readable
from recognition import runs
from recognition.data.skeleton_file import skeleton_file_of
from recognition.pretraining.settings import PretrainSettings
from recognition.settings import DataSettings, RunSettings

TRAIN_CONFIG = "custom"
PRETRAIN_CONFIG = "mamp/custom"
COMMAND_LINE = "the command line"


def train_settings(words: Sequence[str], options: Mapping[str, Any]) -> RunSettings:
    """Resolves the settings of a new run.

    Args:
        words: Positional arguments of the command line: optionally a config, and `key=value` pairs.
        options: Values by dotted name; None for options that were not given.

    Raises:
        UsageError: The config does not exist, or a setting is unknown or invalid.
    """
    config, pairs = split_words(words)
    values = read_config(config or TRAIN_CONFIG, RunSettings)
    return parse(changed(values, pairs, options, RunSettings), RunSettings, place=COMMAND_LINE)


def resumed_settings(run: Path, words: Sequence[str], options: Mapping[str, Any]) -> RunSettings:
    """Resolves the settings of a resumed run: its stored settings, with changes from the command line.

    Args:
        run: Run directory.
        words: `key=value` pairs of the command line.
        options: Values by dotted name; None for options that were not given.

    Raises:
        UsageError: A config is given, or a setting is unknown or invalid.
        WeightsError: The run cannot be read.
    """
    config, pairs = split_words(words)
    if config is not None:
        raise UsageError(f"a resumed run keeps its own settings; leave out {config!r}")
    if options.get("init") is not None or any(pair.startswith(("init=", "out=")) for pair in pairs):
        raise UsageError(
            f"{run}: a resumed run keeps its weights and its directory; leave out init and out, or start a new run "
            "without --resume"
        )
    values = runs.load(runs.run_file(run, "last"))["settings"]
    return parse(changed(values, pairs, {**options, "out": None}, RunSettings), RunSettings, place=COMMAND_LINE)


def pretrain_settings(words: Sequence[str], options: Mapping[str, Any]) -> PretrainSettings:
    """Resolves the settings of a new pre-training run.

    Args:
        words: Positional arguments of the command line: optionally a config, and `key=value` pairs.
        options: Values by dotted name; None for options that were not given.

    Raises:
        UsageError: The config does not exist, or a setting is unknown or invalid.
    """
    config, pairs = split_words(words)
    values = read_config(config or PRETRAIN_CONFIG, PretrainSettings)
    return parse(changed(values, pairs, options, PretrainSettings), PretrainSettings, place=COMMAND_LINE)


def resumed_pretraining(run: Path, words: Sequence[str], options: Mapping[str, Any]) -> PretrainSettings:
    """Resolves the settings of a resumed pre-training run: its stored ones, with changes from the command line.

    Args:
        run: Run directory.
        words: `key=value` pairs of the command line.
        options: Values by dotted name; None for options that were not given.

    Raises:
        UsageError: A config is given, or a setting is unknown or invalid.
        WeightsError: The run cannot be read, or is not a pre-training run.
    """
    config, pairs = split_words(words)
    if config is not None:
        raise UsageError(f"a resumed run keeps its own settings; leave out {config!r}")
    content = runs.load(runs.run_file(run, "last"))
    if "method" not in content:
        raise WeightsError(f"{run}: this is a run of `skelpipe train`; resume it with `skelpipe train --resume {run}`")
    values = changed(content["settings"], pairs, {**options, "out": None}, PretrainSettings)
    return parse(values, PretrainSettings, place=COMMAND_LINE)


def check_files(data: DataSettings, init: str | None = None) -> None:
    """Checks that the files of a run exist, before anything that takes seconds to load.

    Args:
        data: Data settings of the run.
        init: Initial weights, a run or a file; None for random weights.

    Raises:
        UsageError: No file is given, and there is none of `skelpipe extract`.
        AnnotationError: The skeleton file cannot be opened.
        WeightsError: The initial weights do not exist.
    """
    check_readable(skeleton_file_of(data))
    if init is not None:
        runs.run_file(init)

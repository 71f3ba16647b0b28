"""The command line: output, help pages, imports and exit statuses."""

import inspect
import json
import re
import shlex
import subprocess
import sys

import pytest
import typer.main

from pipeline import cli, read_skeletons
from pipeline.commands.help_pages import PANELS, panels_of
from pose_extraction._version import __version__
from pose_extraction.networks.model_zoo import all_models
from pose_extraction.networks.names import DEFAULT_DETECTOR, detector_of

HEAVY = ("torch", "mmpose", "mmengine", "mmdet", "mmcv", "openpifpaf", "cv2", "numpy", "av", "onnxruntime", "openvino")


def skelpipe_here(arguments, monkeypatch, capture):
    """Return the exit status and the output of a command that runs in this process, which has imported everything."""
    monkeypatch.setattr(sys, "argv", ["skelpipe", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code, capture.readouterr()


@pytest.mark.parametrize("arguments", [["--help"], ["extract", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments):
    program = (
        "import sys\nfrom pipeline import cli\ntry:\n    cli.main()\nfinally:\n"
        f"    print('loaded', [name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0
    assert done.stdout.rstrip().endswith("loaded []")


def test_version(monkeypatch, capsys):
    status, output = skelpipe_here(["--version"], monkeypatch, capsys)
    assert status == 0 and re.fullmatch(r"skelpipe \d+\.\d+\.\d+\S*\n", output.out)


COMMANDS = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]


def help_page(name, width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    status, output = skelpipe_here([name, "--help"], monkeypatch, capsys)
    assert status == 0
    return output.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_shows_its_default_and_has_a_panel(name):
    command = COMMANDS[name]
    with command.make_context(name, ["x"], resilient_parsing=True) as context:
        for param in command.params:
            _, text = param.get_help_record(context)
            assert "default: " in text or "required" in text, param.name
            assert param.rich_help_panel in PANELS, param.name
            assert param.help and param.help[0] != "[", param.name


@pytest.mark.parametrize("command", cli.app.registered_commands, ids=lambda command: command.callback.__name__)
def test_options_whose_value_is_called_like_them_are_named_explicitly(command):
    """Some releases of Typer otherwise take over the capitals: --RUN RUN instead of --run RUN."""
    for name, parameter in inspect.signature(command.callback).parameters.items():
        for one in getattr(parameter.annotation, "__metadata__", ()):
            if isinstance(one, typer.models.OptionInfo) and (one.metavar or "").lower().replace("_", "-") == name:
                # Typer keeps the first of the names as the default.
                assert f"--{name}" in (one.default, *one.param_decls), name


def test_the_help_of_extract_names_every_detector_that_auto_chooses():
    (option,) = (param for param in COMMANDS["extract"].params if param.name == "detector")
    pairs = {entry.name: detector_of(entry.name) for entry in all_models() if entry.kind == "estimator"}
    for estimator, detector in pairs.items():
        if detector is not None:
            assert detector.partition("-")[0] in option.help, estimator
            assert estimator.partition("-")[0] in option.help or detector == DEFAULT_DETECTOR, estimator


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("name", COMMANDS)
def test_help_never_cuts_an_option_name_off_and_fits_the_terminal(name, width, monkeypatch, capsys):
    page = help_page(name, width, monkeypatch, capsys)
    lines = page.split("Examples")[0].splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in page
    # Neither types nor ranges of Python, nor parentheses around a default.
    assert not re.search(r"<\w+( range)?>|<=|default: \(", page)
    for param in COMMANDS[name].params:
        for option in param.opts if param.param_type_name == "option" else ():
            assert re.search(rf"^│ (?:.* / )?{option}(?: |$)", page, re.MULTILINE), option


@pytest.mark.parametrize("name", COMMANDS)
def test_an_option_takes_one_line_of_a_hundred_columns_where_it_fits(name, monkeypatch, capsys):
    page = help_page(name, 100, monkeypatch, capsys)
    command = COMMANDS[name]
    with command.make_context(name, ["x"], resilient_parsing=True) as context:
        panels = panels_of(command, context)
    for rows in panels.values():
        column = max(len(names) for names, _ in rows)
        for names, text in rows:
            words = " ".join(text.split())
            # The short form -h is added by the main command.
            if names != "--help" and column + 2 + len(words) <= 96:
                assert f"│ {names:<{column}}  {words} " in page


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_with_three_examples_that_parse(name, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    page = help_page(name, 80, monkeypatch, capsys)
    examples = [line.strip() for line in page.split("Examples")[1].splitlines() if line.strip()]
    assert len(examples) == 3
    for example in examples:
        program, command, *arguments = shlex.split(re.split(r" [|>] ", example)[0])
        assert (program, command) == ("skelpipe", name)
        COMMANDS[name].make_context(name, arguments)


def test_the_main_help_page_lists_every_command(monkeypatch, capsys):
    page = help_page("--help", 80, monkeypatch, capsys)
    assert all(re.search(rf"^│ {name} ", page, re.MULTILINE) for name in COMMANDS)
    assert page.split("Examples")[1].count("skelpipe ") == 3


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["extract"], 2, "Missing argument"),
        (["extract", "x", "--bogus"], 2, "No such option"),
        (["extract", "no such folder"], 2, "no such folder: no such file or folder"),
        (["extract", ".", "--stride", "0"], 2, "Invalid value for '--stride': must be at least 1 (got '0')"),
        (["train", "--seed", "x"], 2, "Invalid value for '--seed': must be an integer (got 'x')"),
        (["extract", ".", "--shard", "4/3"], 2, "give I/N with I from 1 to N"),
        (["extract", ".", "--batch-size", "many"], 2, "--batch-size many: must be 'auto' or an integer"),
        (["extract", ".", "--detect-every", "0"], 2, "--detect-every 0: must be 'auto' or at least 1"),
        (["extract", ".", "--start", "3", "--end", "2"], 2, "end 2.0 s is not after start 3.0 s"),
        (["extract", ".", "--backend", "tpu"], 2, "--backend tpu: must be 'auto', 'torch'"),
        (["extract", ".", "--fps", "-3"], 2, "--fps -3.0: must be greater than 0"),
        (["extract", ".", "--labels", "nowhere.csv"], 2, "nowhere.csv"),
        (["extract", ".", "--config", "extract/fast"], 2, "extract/accurate"),
        (["merge", "nowhere"], 2, "nowhere"),
        (["stats", "nowhere.pkl"], 2, "nowhere.pkl"),
    ],
)
def test_wrong_usage_gives_a_message_and_status_2(arguments, status, words, tmp_path, monkeypatch, capfd, clips):
    # In this process, to avoid starting thirteen others.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "a.mp4").write_bytes(b"")
    code, output = skelpipe_here(arguments, monkeypatch, capfd)
    assert code == status
    assert words in output.err
    assert "Traceback" not in output.err
    assert output.out == ""


def test_a_shipped_config_is_found_from_any_folder_and_the_command_line_overrides_it(
    networks, clips, tmp_path, monkeypatch, capsys
):
    estimator, detector = networks
    clip = clips / "wave" / "clip 3 ü.mp4"
    given = ["extract", clip, "--estimator", estimator, "--detector", detector, "--device", "cpu"]
    given += ["--config", "extract/accurate", "--no-flip-test", "--detect-every", 3]
    monkeypatch.chdir(tmp_path)
    status, output = skelpipe_here(given, monkeypatch, capsys)
    assert not status, output.err
    assert output.out.endswith("skeletons/tiny_pose.pkl\n")
    (annotation,) = read_skeletons(tmp_path / "skeletons" / "tiny_pose.pkl")["annotations"]
    parameters = annotation["history"][0]["parameters"]
    assert (parameters["square_input"], parameters["flip_test"], parameters["detect_every"]) == (True, False, 3)
    assert parameters["estimator"]["precision"] == "fp32"


def test_an_unknown_key_in_a_config_names_the_nearest(clips, tmp_path, monkeypatch, capfd):
    config = tmp_path / "mine.yaml"
    config.write_text("detect_evry: 2\n")
    status, output = skelpipe_here(["extract", clips, "--config", config], monkeypatch, capfd)
    assert status == 2
    assert output.err.endswith("mine.yaml: unknown setting 'detect_evry'; did you mean 'detect_every'?\n")


def test_sigterm_ends_a_command_like_ctrl_c(tmp_path):
    (tmp_path / "ends.py").write_text(
        "import os, signal, sys\nfrom pipeline import cli\n"
        "cli.app.command('end')(lambda: os.kill(os.getpid(), signal.SIGTERM))\n"
        "sys.argv = ['skelpipe', 'end']\ncli.main()\n"
    )
    done = subprocess.run([sys.executable, tmp_path / "ends.py"], capture_output=True, text=True)
    assert (
        done.returncode == 130
        and "interrupted; running the same command again" in done.stderr
        and "Traceback" not in done.stderr
    )


def test_a_closed_pipe_ends_a_command_quietly():
    with subprocess.Popen(
        [sys.executable, "-c", "from pipeline.cli import main; main()", "models", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 1


@pytest.mark.slow
def test_info_lists_versions_and_backends(monkeypatch, capsys):
    status, output = skelpipe_here(["info", "--json"], monkeypatch, capsys)
    assert status == 0
    facts = json.loads(output.out)
    assert facts["versions"]["skelpipe"] == __version__
    assert facts["versions"]["torch"]
    assert set(facts["backends"]) == {"torch", "openvino", "onnxruntime"}
    assert all(isinstance(output, str) and output for output in (facts["backends"] | facts["extras"]).values())
    assert facts["processor"]["usable_cores"] >= 1

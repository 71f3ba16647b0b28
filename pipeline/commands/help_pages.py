"""Help pages of the commands: options in panels, whole option names, defaults, and examples at the end.

Typer's own page gives every panel five columns, and cuts option names off where they do not fit.
"""

import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

import typer
from typer.core import TyperCommand

# Panels in the order in which they are printed; a panel that is not listed comes before the last one.
INPUT = "Input"
NETWORKS = "Networks"
SETTINGS = "Settings"
SPEED = "Speed"
CLUSTER = "Cluster"
TRACKING = "Tracking and cleaning"
CONDITIONS = "Conditions"
PREDICTIONS = "Predictions"
PRETRAINED = "Pre-trained encoders"
OUTPUT = "Output"
ACCESS = "Access"
OTHER = "Other"
PANELS = (
    INPUT,
    ACCESS,
    NETWORKS,
    SETTINGS,
    SPEED,
    CLUSTER,
    TRACKING,
    PREDICTIONS,
    CONDITIONS,
    PRETRAINED,
    OUTPUT,
    OTHER,
)

MAX_WIDTH = 120
# Option names longer than this are printed on a line of their own.
NAME_COLUMN = 36

Row = tuple[str, str]


class HelpCommand(TyperCommand):
    """A command with a help page in panels."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["[OPTIONS]", *(_argument_name(param) for param in self.params if param.param_type_name == "argument")]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            _reword(error)
            raise

    def format_help(self, ctx: Any, formatter: Any) -> None:
        print_help(self, ctx)


def print_help(command: Any, context: Any) -> None:
    """Prints the help page of a command, or of a group with its commands, to standard output.

    Args:
        command: A Typer command or group. Its `epilog` holds the examples, one line each; they are never wrapped.
        context: Its context.
    """
    from rich.console import Console
    from rich.panel import Panel
    from rich.text import Text

    console = Console(highlight=False)
    width = min(console.width, MAX_WIDTH)

    def print_text(text: str) -> None:
        console.print(Text(text), soft_wrap=True)

    print_text(f"\n {' '.join(context.get_usage().split())}\n")
    for line in textwrap.wrap(command.help or "", width - 2):
        print_text(f" {line}")
    print_text("")
    panels = panels_of(command, context)
    for name in sorted(panels, key=lambda name: PANELS.index(name) if name in PANELS else len(PANELS) - 1.5):
        text = Text("\n".join(panel_lines(panels[name], width - 4)))
        text.highlight_regex(r"(?<!\S)--?[a-zA-Z][\w-]*", "bold cyan")
        text.highlight_regex(r"\[default: [^\]]*\]", "dim")
        console.print(Panel(text, title=name, title_align="left", border_style="dim", width=width))
    if command.epilog:
        print_text(f"\n Examples\n{textwrap.indent(command.epilog, '   ')}\n")


def panels_of(command: Any, context: Any) -> dict[str, list[Row]]:
    """Names and descriptions of the arguments, options and commands of a page, by panel."""
    panels: dict[str, list[Row]] = {}
    for name in command.list_commands(context) if hasattr(command, "list_commands") else ():
        child = command.get_command(context, name)
        panels.setdefault(child.rich_help_panel or "Commands", []).append((name, child.get_short_help_str(limit=200)))
    for param in command.get_params(context):
        is_argument = param.param_type_name == "argument"
        names, text = param.get_help_record(context)
        row = (_argument_name(param) if is_argument else names, _plain_default(text))
        panels.setdefault(getattr(param, "rich_help_panel", None) or OTHER, []).append(row)
    return panels


def panel_lines(rows: Iterable[Row], width: int) -> Iterator[str]:
    """Lines of a panel: names in one column, which is as wide as the panel needs, descriptions in another.

    Args:
        rows: Names and their descriptions.
        width: Columns between the borders.
    """
    rows = list(rows)
    limit = min(NAME_COLUMN, width // 2)
    column = max((len(names) for names, _ in rows if len(names) <= limit), default=0)
    for names, text in rows:
        lines = textwrap.wrap(_unbroken(text), width - column - 2, break_long_words=False, break_on_hyphens=False)
        if len(names) > column:
            yield names
        else:
            yield f"{names:<{column}}  {_with_spaces(lines.pop(0)) if lines else ''}".rstrip()
        yield from (" " * (column + 2) + _with_spaces(line) for line in lines)


def _unbroken(text: str) -> str:
    """A description whose default stays on one line if it is short; textwrap does not break at no-break spaces."""
    text = text.replace("  [", " [")
    return re.sub(r" (\[[^\]]{,40}\])$", lambda match: " " + match[1].replace(" ", "\N{NO-BREAK SPACE}"), text)


def _with_spaces(line: str) -> str:
    return line.replace("\N{NO-BREAK SPACE}", " ")


def _argument_name(param: Any) -> str:
    return str(param.metavar or param.name.upper())


def _plain_default(text: str) -> str:
    """A description without the parentheses around a default in words, and without the range of a number."""
    text = re.sub(r"; (?:[\d.]+<=?)?x(?:[<>]=?[\d.]+)?(?=[;\]])", "", text)
    return re.sub(r"default: \((.*)\)\]$", r"default: \1]", text)


def _reword(error: typer.BadParameter) -> None:
    """Names the wrong value, in this project's words; recent releases of Typer print those of pydantic."""
    errors_of = getattr(error.__cause__, "errors", None)
    if errors_of is not None:
        from pipeline.config import expected

        errors = errors_of()
        error.message = f"{expected(errors)} (got {errors[0]['input']!r})"

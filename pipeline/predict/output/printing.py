"""The table that `skelpipe predict` prints, for consoles of any width."""

from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.predict.answers import Answer, in_words

# Characters between the contents of two columns, and at both ends of a row.
_BETWEEN, _ENDS = 3, 4
# Characters per line: of a clip's name as long as answers can be broken between words, of a name or an answer in any
# case, and of the reason of a missing answer before other columns get any.
_NAME, _LEAST, _REASON = 16, 8, 32


def print_table(answers: Sequence[Answer], console: Console, *, times: bool = False) -> None:
    """Print one row per prediction: the answer and the next most probable actions, or the reason for having none.

    Nothing is cut off. In a narrow console there are fewer actions after the answer, and long names of clips take
    several lines; so do answers, if the room is not enough for one of them.

    Args:
        answers: The predictions.
        console: Receives the table.
        times: Whether to show time ranges even if each person of a clip has only one.
    """
    if not answers:
        return
    columns = {"clip": [answer.clip for answer in answers]}
    if any(answer.person is not None for answer in answers):
        columns["person"] = ["" if answer.person is None else str(answer.person) for answer in answers]
    if times or len({(answer.clip, answer.person) for answer in answers}) < len(answers):
        columns["seconds"] = [
            "" if answer.start is None else f"{answer.start:.2f} - {answer.end:.2f}" for answer in answers
        ]
    columns["answer"] = [_answer(answer) for answer in answers]
    columns |= _next_actions(answers)
    reasons = [cell for cell, answer in zip(columns["answer"], answers, strict=True) if answer.reason is not None]
    widths = _widths(columns, set(reasons), console.width)
    table = Table()
    for heading, width in widths.items():
        is_number = heading in ("person", "seconds")
        table.add_column(heading, justify="right" if is_number else "left", width=width, overflow="fold")
    for row in zip(*(columns[heading] for heading in widths), strict=True):
        # Names come from the user's files, so they must not be parsed as markup.
        table.add_row(*(Text(cell, style="italic" if cell in reasons else "") for cell in row))
    console.print(table)


def _answer(answer: Answer) -> str:
    if answer.reason is not None:
        return f"none: {answer.reason}"
    return in_words(answer.label or "", answer.probability or 0.0, answer.closest, decimals=1)


def _next_actions(answers: Sequence[Answer]) -> dict[str, list[str]]:
    """Return the columns of the actions after the most probable one, by heading."""
    columns: dict[str, list[str]] = {}
    for place in range(1, max(len(answer.best) for answer in answers)):
        shown = [answer.best[place] if place < len(answer.best) else None for answer in answers]
        columns[str(place + 1)] = ["" if one is None else f"{one[0]} {one[1]:.1%}" for one in shown]
    return columns


def _widths(columns: Mapping[str, Sequence[str]], reasons: set[str], total: int) -> dict[str, int]:
    """Return the columns that fit into a number of characters, with the width of each one's content."""
    widths = {heading: max(map(cell_len, (heading, *cells))) for heading, cells in columns.items()}
    # Reasons are sentences, which may take several lines.
    longest, actions = widths["answer"], [cell for cell in columns["answer"] if cell not in reasons]
    widths["answer"] = max(*map(cell_len, ("answer", *actions)), min(longest, _REASON) if reasons else 0)
    own = [heading for heading in columns if not heading.isdecimal()]
    room = total - _ENDS - sum(widths[heading] for heading in own) - _BETWEEN * (len(own) - 1)
    words = [cell_len(word) for cell in actions for word in cell.split()]
    # The name of a clip gives way first: in several lines, too, it can be told from others.
    for heading, least in (("clip", _NAME), ("answer", max(words, default=0)), ("clip", _LEAST), ("answer", _LEAST)):
        given_up = min(max(-room, 0), max(widths[heading] - least, 0))
        widths[heading] -= given_up
        room += given_up
    for heading in columns:
        if heading not in own:
            if widths[heading] + _BETWEEN > room:
                break
            own.append(heading)
            room -= widths[heading] + _BETWEEN
    widths["answer"] += max(min(room, longest - widths["answer"]), 0)
    return {heading: widths[heading] for heading in own}

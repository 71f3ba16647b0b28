"""Markdown tables of the results."""

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.cells.results import Key, Result
from benchmarks.cells.scores import (
    Block,
    Where,
    best_of,
    blocks,
    calibration,
    called_unknown,
    lead,
    mean_ranks,
    unknown_detection,
    unseen_class,
)

CLEAN = "clean"


def report(
    results: Mapping[Key, Result], titles: Mapping[str, str], ours: str, names: Mapping[str, Sequence[str]]
) -> str:
    """Return what the figures mean, and all tables that results allow.

    Args:
        results: The results.
        titles: Headings of the columns by name of the method, in their order; methods without results get no column.
        ours: Name of the method that is compared with the best of the others.
        names: Class names of data sets, by their titles, for results of earlier versions with a class left out.

    Returns:
        Markdown: accuracy, cost, robustness, calibration and detection of unseen classes, without empty tables.
    """
    measured = {key.method for key in results}
    shown = {name: title for name, title in titles.items() if name in measured}
    found = blocks(results)
    parts = [
        _explanation(shown, ours),
        accuracy_table(found, shown, ours),
        cost_table(found, shown),
        robustness_table(found, shown),
    ]
    errors = {
        where: {name: f"{error:.3f} ({if_exact:.3f})" for name, (error, if_exact) in row.items()}
        for where, row in calibration(results).items()
    }
    parts += [_text_table(errors, shown, "expected calibration error (with exact probabilities)")]
    rejected = {
        where: {name: f"{100 * unknown / clips:.1f} ({unknown} of {clips})" for name, (unknown, clips) in row.items()}
        for where, row in called_unknown(results).items()
    }
    parts += [_text_table(rejected, shown, "clips of known actions called unknown, per cent")]
    unknown: dict[Where, dict[str, str]] = {
        (data, None, CLEAN): {name: f"{area:.3f}" for name, area in row.items()}
        for data, row in unknown_detection(results, names).items()
    }
    parts += [_text_table(unknown, shown, "AUROC of the unseen class"), _without_numbers(results, names)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _explanation(titles: Mapping[str, str], ours: str) -> str:
    lines = [
        "Accuracy is the mean over the seeds that a method has, ± the standard deviation over these seeds; without ±, "
        "there is one seed. All methods of a row are tested on the same folds. Mean ranks compare only the seeds that "
        "all methods of a row have."
    ]
    if ours in titles and len(titles) > 1:
        lines.append(
            f"The lead is that of {titles[ours]} (`--ours {ours}`) over the best other method, both with only "
            "the seeds that both have; its interval is from a bootstrap over the clips."
        )
    elif len(titles) > 1:
        lines.append(f"There is no lead, because there are no results of `--ours {ours}`.")
    lines.append(
        "In brackets after a calibration error is the mean one with exact probabilities, which is not zero: with few "
        "clips, how many answers are correct is a matter of luck."
    )
    return " ".join(lines)


def _without_numbers(results: Mapping[Key, Result], names: Mapping[str, Sequence[str]]) -> str:
    """Return what is missing for the table of unseen classes."""
    sets = {
        key.data for key, result in results.items() if key.left_out is not None and unseen_class(result, names) is None
    }
    return "\n".join(
        f"AUROC of the unseen class, {title}: some results are of an earlier version, which did not write the number "
        f"of the class that was left out; add `--data {title}=FILE.pkl`, the file that they were measured with."
        for title in sorted(sets)
    )


def accuracy_table(found: Mapping[Where, Mapping[str, Block]], titles: Mapping[str, str], ours: str) -> str:
    """Return accuracy by data set and number of clips, our lead over the best rival, and mean ranks.

    Args:
        found: Result of `blocks`; only undamaged test clips are used.
        titles: Headings of the columns by name of the method, in their order.
        ours: Name of the method with the lead; without results of it, there is no column for the lead.

    Returns:
        Markdown table with accuracies in percent, mean ± standard deviation over the seeds, and the lead in percentage
        points with its 95 % interval (see `lead`). The last row has the mean ranks (see `mean_ranks`). Empty without
        results.
    """
    rows = {where: row for where, row in _sorted(found).items() if where[2] == CLEAN and row}
    rivals = [name for name in titles if name != ours]
    has_ours = any(ours in row for row in rows.values())
    head = ["data", "clips per class", *titles.values()]
    lines = _head([*head, "lead over the best rival (95 % interval)"] if has_ours else head)
    for (data, count, _), row in rows.items():
        cells = [data, _count(count), *(_accuracy(row.get(name)) for name in titles)]
        if has_ours:
            rival = best_of(row, ours, rivals)
            cells.append("" if rival is None else _lead(row, ours, rival, titles))
        lines.append(_line(cells))
    ranks, number = mean_ranks(rows.values(), list(titles))
    if number and len(titles) > 1:
        cells = ["mean rank", f"{number} rows", *(f"{ranks[name]:.2f}" for name in titles)]
        lines.append(_line([*cells, ""] if has_ours else cells))
    return "\n".join(lines) if rows else ""


def cost_table(found: Mapping[Where, Mapping[str, Block]], titles: Mapping[str, str]) -> str:
    """Return what a training costs, by data set and number of clips per class.

    Args:
        found: Result of `blocks`; only undamaged test clips are used.
        titles: Headings of the columns by name of the method, in their order.

    Returns:
        Markdown table: for each method, mean seconds, mean processor seconds and the largest peak memory in megabytes.
        The number of training clips is that of the row's first method. Empty without results.
    """
    rows = {where: row for where, row in _sorted(found).items() if where[2] == CLEAN and row}
    lines = _head(["data", "training clips", *(f"{title}, s / CPU s / MB" for title in titles.values())])
    for (data, _, _), row in rows.items():
        clips = round(next(iter(row.values())).trained_on)
        costs = [_cost(row.get(name)) for name in titles]
        lines.append(_line([data, str(clips), *costs]))
    return "\n".join(lines) if rows else ""


def robustness_table(found: Mapping[Where, Mapping[str, Block]], titles: Mapping[str, str]) -> str:
    """Return accuracy under each condition, and the mean over the conditions, clean not included.

    Args:
        found: Result of `blocks`.
        titles: Headings of the columns by name of the method, in their order.

    Returns:
        Markdown table with accuracies in percent, means over the seeds of a method. A mean over the conditions is
        missing for methods without results under some of them. Empty if no clips were damaged.
    """
    rows = {where: row for where, row in _sorted(found).items() if row}
    damaged = {where for where in rows if where[2] != CLEAN}
    if not damaged:
        return ""
    lines = _head(["data", "clips per class", "condition", *titles.values()])
    for data, count in dict.fromkeys((where[0], where[1]) for where in rows if where in damaged):
        own = {where[2]: row for where, row in rows.items() if where[:2] == (data, count)}
        for condition, row in own.items():
            cells = [f"{100 * row[name].mean:.1f}" if name in row else "" for name in titles]
            lines.append(_line([data, _count(count), _words(condition), *cells]))
        under = [row for condition, row in own.items() if condition != CLEAN]
        means = [
            f"{100 * np.mean([row[name].mean for row in under]):.1f}" if all(name in row for row in under) else ""
            for name in titles
        ]
        lines.append(_line([data, _count(count), "mean of the conditions", *means]))
    return "\n".join(lines)


def _text_table(found: Mapping[Where, Mapping[str, str]], titles: Mapping[str, str], what: str) -> str:
    if not found:
        return ""
    lines = _head([what, "clips per class", *titles.values()])
    for (data, count, _), row in _sorted(found).items():
        lines.append(_line([data, _count(count), *(row.get(name, "") for name in titles)]))
    return "\n".join(lines)


def _sorted(found: Mapping[Where, Mapping[str, object]]) -> dict[Where, Mapping]:
    """Return rows by data set; within one, all clips come before ascending numbers, and clean before the conditions."""
    order = sorted(found, key=lambda where: (where[0], where[1] is not None, where[1] or 0, where[2] != CLEAN))
    return {where: found[where] for where in order}


def _accuracy(block: Block | None) -> str:
    if block is None:
        return ""
    spread = f" ± {100 * block.each.std(ddof=1):.1f}" if len(block.each) > 1 else ""
    return f"{100 * block.mean:.1f}{spread}"


def _cost(block: Block | None) -> str:
    return "" if block is None else f"{block.seconds:.1f} / {block.cpu_seconds:.1f} / {block.megabytes:.0f}"


def _lead(row: Mapping[str, Block], ours: str, rival: str, titles: Mapping[str, str]) -> str:
    value, low, high = (100 * number for number in lead(row, ours, rival))
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f}), {titles[rival]}"


def _count(count: int | None) -> str:
    return "all" if count is None else str(count)


def _words(condition: str) -> str:
    return condition.replace("_", " ").replace("-", " ")


def _head(cells: Sequence[str]) -> list[str]:
    return [_line(cells), "|" + "---|" * len(cells)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"

"""Sections of a model card about what was measured: accuracy, calibration, robustness."""

from collections.abc import Iterator
from typing import Any

from pipeline.sharing.markdown import stem, table
from pipeline.sharing.run_facts import RunFacts
from pose_extraction.errors import counted
from recognition.evaluation.metrics import wilson_interval
from recognition.robustness.conditions import BY_NAME, CLEAN


def accuracy_sections(facts: RunFacts) -> Iterator[str]:
    """Yield a section for each evaluation, or one that says how to make one."""
    if not facts.evaluations:
        protocol = " --protocol linear" if facts.is_encoder else ""
        command = f"skelpipe evaluate {facts.reference}{protocol} --data FILE"
        yield f"## Accuracy\n\nNot measured. To measure it: `{command}`."
    for result in facts.evaluations:
        yield f"## Accuracy on {stem(result['data'])}, {result['split']}\n\n{_accuracy(result)}"


def _accuracy(result: dict[str, Any]) -> str:
    rows = [("clips", result["clips"])]
    if "protocol" in result:
        rows.append(("protocol", result["protocol"]))
    interval = result.get("top1_interval")
    rows.append(("top-1", f"{result['top1']:.1%}" + (f" (95 % interval {_range(interval)})" if interval else "")))
    rows += [
        (name, f"{result[key]:.1%}")
        for key, name in (("top5", "top-5"), ("mean_class", "mean class accuracy"))
        if result.get(key) is not None
    ]
    if "protocol" in result:
        return table(("measure", "value"), rows)
    rows.append(("estimator of the poses", result.get("estimator") or "not recorded"))
    if call := result.get("call"):
        rows.append(
            ("classes of the file by their names in the run", ", ".join(f"{old}={new}" for old, new in call.items()))
        )
    rows.append(("without a visible person (failures)", result["unanswered"]))
    rows.append(("also in the training data", _shared(result)))
    return f"{table(('measure', 'value'), rows)}\n\n{_per_class(result)}"


def _shared(result: dict[str, Any]) -> str:
    """Describe which evaluated clips and persons were trained on."""
    trained_on, groups, shared = (result.get(name) for name in ("trained_on", "groups", "groups_trained_on"))
    clips = "unknown clips" if trained_on is None else counted(trained_on, "clip")
    persons = (
        "unknown persons (groups)" if groups is None or shared is None else f"{shared} of {groups} persons (groups)"
    )
    return f"{clips}, {persons}"


def _per_class(result: dict[str, Any]) -> str:
    rows = []
    for number, one in enumerate(result["per_class"]):
        correct, clips = result["confusion"][number][number], one["clips"]
        accuracy = f"{correct / clips:.1%} ({_range(wilson_interval(correct, clips))})" if clips else "not measured"
        rows.append((one["class"], clips, accuracy))
    return table(("action", "clips", "accuracy (95 % interval, Wilson)"), rows)


def _fitted_confidence(fitted: dict[str, Any]) -> str:
    """Say how the probabilities of a run come from its outputs; runs of earlier versions have no doubt."""
    text = (
        f"The logits are divided by a temperature of {fitted['temperature']:.3g}, fitted on {fitted['clips']} clips "
        "that were not trained on."
    )
    if doubt := fitted.get("doubt"):
        text += f" Then {doubt:.2g} of the probability is shared equally by all actions."
    return text


def calibration_section(facts: RunFacts) -> str:
    """Return what is known about the probabilities of a run."""
    fitted = facts.content.get("confidence") or {}
    lines = [_fitted_confidence(fitted) if fitted else "Probabilities are not calibrated."]
    result = next((one for one in facts.evaluations if one.get("calibration")), None)
    if result is None:
        return f"{lines[0]} The calibration error is not measured; `skelpipe evaluate` measures it."
    found = result["calibration"]
    lines.append(
        f"On {stem(result['data'])}, {result['split']}: expected calibration error {found['ece']:.3f} (exact "
        f"probabilities would have {found['ece_if_exact']:.3f} with {found['clips']} clips), Brier score "
        f"{found['brier']:.3f}. Reliability:"
    )
    rows = [
        (
            f"{one['low']:.1f} to {one['high']:.1f}",
            one["clips"],
            f"{one['confidence']:.1%}",
            f"{one['accuracy']:.1%} ({_range(one['interval'])})",
        )
        for one in found["bins"]
    ]
    return "\n\n".join((*lines, table(("probability", "clips", "mean probability", "correct (95 % interval)"), rows)))


def robustness_section(facts: RunFacts) -> str:
    """Return the accuracy on damaged skeletons, one row for each kind of damage, one column for each level."""
    if facts.is_encoder:
        return "Not measured: `skelpipe robustness` measures recognizers."
    if facts.robustness is None:
        return f"Not measured. To measure it: `skelpipe robustness {facts.reference}`."
    rows = [row for row in facts.robustness["conditions"] if row["method"] == facts.method]
    clean = next((row["top1"] for row in rows if row["family"] == CLEAN), None)
    curves: dict[str, list[str]] = {}
    for row in rows:
        if row["family"] != CLEAN:
            title = BY_NAME[row["family"]].title if row["family"] in BY_NAME else f"errors of {row['other']}"
            drop = f" ({row['drop_low']:+.1%} to {row['drop_high']:+.1%})" if row.get("drop_low") is not None else ""
            curves.setdefault(title, []).append(f"{row['level']}: {row['top1']:.1%}{drop}")
    data = facts.robustness["data"][0]
    start = f"Top-1 on {data['clips']} clips of {data['name']}, {facts.robustness['split']}"
    start += "" if clean is None else f"; undamaged: {clean:.1%}"
    cells = [(title, "; ".join(levels)) for title, levels in curves.items()]
    return f"{start}.\n\n{table(('damage', 'level: top-1 (95 % interval of the drop)'), cells)}"


def _range(interval: tuple[float, float] | list[float]) -> str:
    return f"{interval[0]:.1%} to {interval[1]:.1%}"

"""Model cards: Markdown with the front matter of model hubs, from the files of a run alone."""

from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from pipeline.sharing.markdown import stem, table
from pipeline.sharing.measured import accuracy_sections, calibration_section, robustness_section
from pipeline.sharing.run_facts import RunFacts
from recognition.packed import BASE, shipped

TASK = "video-classification"
# Settings of the training that readers compare first; the weights contain all of them.
_SHOWN = ("objective", "phase1_epochs", "phase2_epochs", "batch_size", "backbone_lr", "head_lr", "seed", "precision")
_OF_EXTRACTION = ("estimator", "detector", "estimator_weights", "detector_weights")


def card_of(
    facts: RunFacts, *, license_id: str | None = None, address: str | None = None, sections: Sequence[str] = ()
) -> str:
    """Return the model card of a run; that of weights of the package starts with the card that they come with.

    Args:
        facts: The run.
        license_id: Licence of the weights, such as "cc-by-nc-4.0"; None if it is not known.
        address: What the usage example gives as the run, such as its address on a hub; None for the run directory.
        sections: Further sections, which follow the usage example.
    """
    used = address or facts.reference
    parts = [
        *((facts.card,) if facts.card is not None else (f"# {facts.name}", _summary(facts))),
        _usage(facts, used) if facts.card is None else "## Use\n\n" + _usage(facts, used),
        *sections,
        *(_beyond_card(facts) if facts.card is not None else _from_files(facts)),
        "## Licence\n\n" + _licence(license_id),
    ]
    if facts.card is None:
        parts += ["## Limits\n\n" + _limits(facts), "## Unsuitable uses\n\n" + _UNSUITABLE]
    return f"---\n{_front_matter(facts, license_id)}---\n\n" + "\n\n".join(parts) + "\n"


def _from_files(facts: RunFacts) -> Iterator[str]:
    """Yield sections on training and accuracy; what was not measured is named, with the command that measures it."""
    yield "## Training data\n\n" + _data(facts)
    yield "## Network and training\n\n" + _training(facts)
    yield "## Pose estimation\n\n" + _estimation(facts)
    yield from accuracy_sections(facts)
    yield "## Calibration\n\n" + calibration_section(facts)
    yield "## Robustness\n\n" + robustness_section(facts)


def _beyond_card(facts: RunFacts) -> Iterator[str]:
    """Yield sections that a card of the package's weights lacks: the pose estimator, and what was measured later."""
    if facts.content.get("estimator") is not None:
        yield "## Pose estimation\n\n" + _estimation(facts)
    if facts.evaluations:
        yield from accuracy_sections(facts)
        yield "## Calibration\n\n" + calibration_section(facts)
    if facts.robustness is not None:
        yield "## Robustness\n\n" + robustness_section(facts)


def _front_matter(facts: RunFacts, license_id: str | None) -> str:
    tags = ["skelpipe", "action-recognition", "skeleton-based-action-recognition", "human-pose"]
    backbone = facts.content["settings"].get("model", {}).get("backbone")
    front: dict[str, Any] = {} if license_id is None else {"license": license_id}
    front |= {"library_name": "skelpipe", "pipeline_tag": TASK, "tags": tags + ([backbone] if backbone else [])}
    results = [_result(evaluation) for evaluation in facts.evaluations if evaluation.get("top1") is not None]
    if results:
        front |= {"metrics": ["accuracy"], "model-index": [{"name": facts.name, "results": results}]}
    return yaml.safe_dump(front, sort_keys=False, allow_unicode=True)


def _result(evaluation: dict[str, Any]) -> dict[str, Any]:
    data = stem(evaluation["data"])
    # Accuracies with other classes cannot be compared with those of the data set.
    title = f"{data} (classes renamed)" if evaluation.get("call") else data
    measures = {"top1": "top-1", "mean_class": "mean class accuracy"}
    return {
        "task": {"type": TASK, "name": "Skeleton-based action recognition"},
        "dataset": {"name": title, "type": data, "split": evaluation["split"]},
        "metrics": [
            {"type": "accuracy", "name": name, "value": round(evaluation[key], 4)}
            for key, name in measures.items()
            if evaluation.get(key) is not None
        ],
    }


def _summary(facts: RunFacts) -> str:
    content = facts.content
    joints = f"{content['num_joints']} joints ({content['layout']}) in {content.get('dimensions') or 2}D"
    made = f"skelpipe {content.get('version', 'of unknown version')}"
    if facts.is_encoder:
        return (
            f"An encoder of human motion, pre-trained with {content['method'].upper()} by {made}. It takes {joints}, "
            "and knows no actions: train a recognizer from it with `--init`, or measure it with `--protocol`."
        )
    names = content["label_names"]
    return (
        f"A recognizer of {len(names)} actions from human skeletons, trained with {made}. It takes {joints}.\n\n"
        f"Actions: {', '.join(names)}."
    )


def _usage(facts: RunFacts, used: str) -> str:
    if facts.is_encoder or facts.weights == shipped(BASE):
        return f"```bash\nskelpipe train --init {used} --data skeletons.pkl\n```"
    return (
        f"```bash\npip install '.[all]'    # in the checkout of skelpipe\nskelpipe predict clip.mp4 --run {used}\n```"
    )


def _data(facts: RunFacts) -> str:
    about, content = facts.about, facts.content
    rows = [("skeleton file", stem(about["data"]) if "data" in about else "not recorded")]
    rows.append(("SHA-256 of its content", content.get("content_digest") or "not recorded"))
    if facts.split is not None:
        rows.append(("clips for training", str(len(facts.split["training"]))))
        rows.append(("held-out clips, which select the best epoch", str(len(facts.split["held_out"]))))
    groups = about.get("groups")
    if groups is None:
        rows.append(("persons (groups)", "not recorded"))
    elif not groups["training"]:
        rows.append(("persons (groups)", "the file records none, so persons may be in several parts"))
    else:
        shared = "none of them in both" if not groups["both"] else f"{groups['both']} of them in both"
        rows.append(("persons (groups)", f"{groups['training']} in training, {groups['held_out']} held out, {shared}"))
    for source in content.get("sources", ()):
        rows.append((f"source {source['name']}", f"SHA-256 {source.get('sha256') or 'made from the seed'}"))
    text = table(("", ""), rows)
    if "clips" not in about:
        return text
    counts = zip(content["label_names"], about["clips"]["training"], about["clips"]["held_out"], strict=True)
    return f"{text}\n\n{table(('action', 'training clips', 'held-out clips'), counts)}"


def _training(facts: RunFacts) -> str:
    settings = facts.content["settings"]
    model, training = settings.get("model", {}), settings.get("training", {})
    rows = [("backbone", model.get("backbone", facts.content.get("method", "")))]
    if "parameters" in facts.about:
        rows.append(("parameters", f"{facts.about['parameters']:,}"))
    rows += [(name, training[name]) for name in _SHOWN if name in training]
    rows.append(("epoch of these weights", facts.content.get("epoch", "not recorded")))
    held_out = facts.content.get("held_out") or {}
    if held_out.get("clips"):
        rows.append(("accuracy on held-out clips, optimistic", f"{held_out['top1']:.1%} of {held_out['clips']:.0f}"))
    rows.append(("version, commit", f"{facts.content.get('version')}, {facts.content.get('commit') or 'a release'}"))
    return table(("", ""), rows) + "\n\nThe file of weights contains all settings."


def _estimation(facts: RunFacts) -> str:
    extraction = dict(facts.content.get("extraction") or {})
    estimator = facts.content.get("estimator") or extraction.get("estimator")
    if estimator is None:
        return "The skeleton file does not record the pose estimator. Poses of other estimators may lower the accuracy."
    rows = [("pose estimator", estimator)]
    rows += [(name, extraction.pop(name)) for name in _OF_EXTRACTION[1:] if name in extraction]
    rows += [(key, value) for key, value in extraction.items() if key != "estimator" and not key.endswith("_file")]
    return table(("", ""), rows) + "\n\nPoses of other estimators, and other settings, may lower the accuracy."


def _licence(license_id: str | None) -> str:
    stated = (
        f"The weights are published under `{license_id}`."
        if license_id is not None
        else "Not stated (`skelpipe card --license ID` states it)."
    )
    return (
        f"{stated} The licence of the training data is not recorded in the run. Weights that were trained on research "
        "data may be usable for research only: check the terms of the data sets and of the pose estimator's weights."
    )


def _limits(facts: RunFacts) -> str:
    content, lines = facts.content, []
    if not facts.is_encoder:
        threshold = (content.get("confidence") or {}).get("threshold")
        lines.append(
            "It answers with one of its actions. "
            + (
                "Clips unlike all of them are reported as unknown, which fails for some."
                if threshold is not None
                else "It has no threshold for unknown actions, so it names one of them for any movement."
            )
        )
    if content.get("dimensions") != 3:
        lines.append(
            "It was trained on joints in the image plane. Camera views that the training data lack are untested."
        )
    groups = facts.about.get("groups") or {}
    if not groups.get("training"):
        lines.append("The number of people in the training data is not recorded.")
    else:
        lines.append(f"It was trained on {groups['training']} people or groups.")
    lines.append("It depends on detected joints: hidden, small, blurred or crowded people are recognised less well.")
    return "\n".join(f"- {line}" for line in lines)


_UNSUITABLE = """- Decisions about people that nobody checks, among them surveillance, discipline, hiring and insurance.
- Emergencies, falls and medical diagnosis, unless it was tested for exactly that.
- Identifying people, or inferring emotions, intentions or traits from movement."""

"""Whether a run mirrors its clips: decided by the classifier of descriptors, on clips that it has left out."""

import numpy as np

from recognition import run_file, runs
from recognition.data.clip_transforms import AUTO_FLIP
from recognition.data.descriptors.kernel_ridge import ROWS_OF_CHOICE, left_out_likelihood, rows_of_choice
from recognition.settings import Auto
from recognition.training.fitted_clips import FittedClips, Views, choose_clips
from recognition.training.movement import SHARES_OF_GROUPS
from recognition.training.preparation import Prepared

# Odds that mirror images help, before any clip is looked at. With even odds, chance decides where all clips are
# recognised either way: on yoga, 97.3 % of the test clips were right instead of all. And the gain in log-likelihood per
# clip that doing without them must bring, so that chance does not decide on sets of hundreds of clips, either.
ODDS_OF_MIRRORING, LEAST_GAIN = 3.0, 0.01


def with_mirroring(prepared: Prepared) -> Prepared:
    """Resolve `data.flip`, if it is "auto": clips are mirrored unless left-out clips speak against it.

    Mirror images help where people do an action to either side, as in walking, and harm where all do it to the same
    side, as in playing the violin. What counts is the likelihood of each clip itself for classifiers that have not seen
    its person, with and without mirror images among their training clips. The answer is used for the network as well,
    whose training would take much longer to ask.

    A classifier that extends an earlier one mirrors as that one did, whose rows it keeps.

    Args:
        prepared: Data and settings of a run; those without a classifier of descriptors are returned as they are.

    Raises:
        WeightsError: The initial run does not exist, or is damaged.
    """
    settings = prepared.settings
    data = settings.data
    if data.flip != "auto" or data.descriptors is not True:
        return prepared
    if settings.training.keep_descriptors:
        flip_share = _flip_of(settings.init, data.flip)
    else:
        flip_share = 0.0 if _mirror_images_harm(prepared) else AUTO_FLIP
    return prepared.with_settings(settings.model_copy(update={"data": data.model_copy(update={"flip": flip_share})}))


def _flip_of(init: str | None, otherwise: float | Auto) -> float | Auto:
    """Return the probability of mirroring of an initial run; `otherwise` for weights that are not those of one."""
    path = runs.run_file(init) if init is not None else None
    if path is None or not run_file.is_run_file(path):
        return otherwise
    # A pre-trained encoder is refused later, with what it is.
    flip: float | Auto = run_file.load_facts(path)["settings"]["data"].get("flip", otherwise)
    return flip


def _mirror_images_harm(prepared: Prepared) -> bool:
    """Compare classifiers of the same clips with and without their mirror images, both without random copies."""
    chosen = choose_clips(prepared)
    # With their mirror images, they are at most as many rows as a choice is made with.
    indices = chosen.indices[rows_of_choice(chosen.groups, ROWS_OF_CHOICE // 2)]
    clips = FittedClips.of(prepared, indices, Views(mirrored=True, copies=0, cuts=0), np.random.default_rng(0))
    rows, labels, groups = clips.describe(prepared), clips.per_row(clips.labels), clips.per_row(clips.groups)
    itself = np.arange(len(rows)) % 2 == 0

    def likelihood(kept: np.ndarray) -> float:
        own = (rows[kept], labels[kept], groups[kept])
        return left_out_likelihood(*own, classes=prepared.num_classes, shares=SHARES_OF_GROUPS, judged=itself[kept])

    gain = likelihood(itself) - likelihood(np.ones(len(rows), bool))
    return gain > max(np.log(ODDS_OF_MIRRORING), LEAST_GAIN * len(indices))

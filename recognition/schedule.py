"""Learning rates as a function of where a run is, with no state of their own: a resumed run cannot differ."""

import math

from recognition.settings import TrainingSettings


def learning_rate_factor(settings: TrainingSettings, epoch: int, progress: float) -> float:
    """What both learning rates are multiplied by.

    The exponential schedule is the published one, x 0.99 after every epoch; the cosine falls to zero at the end of the
    run. A warm-up lies over either and grows in a straight line. `restart_lr_at_phase2` begins the schedule anew with
    phase two, whatever the objective, so that runs of different objectives stay comparable.

    Args:
        settings: Phases with resolved numbers of epochs.
        epoch: From 0.
        progress: Share of the epoch that is done after this step, in (0, 1].

    Returns:
        A factor in [0, 1].
    """
    phase1, phase2 = epochs_of(settings)
    first, last = 0, phase1 + phase2
    if settings.restart_lr_at_phase2:
        first, last = (phase1, last) if epoch >= phase1 else (0, phase1)
    done = epoch - first
    if settings.schedule == "exponential":
        factor = settings.lr_decay**done
    else:
        factor = 0.5 * (1 + math.cos(math.pi * (done + progress) / (last - first)))
    if done < settings.warmup_epochs:
        factor *= (done + progress) / settings.warmup_epochs
    return factor


def epochs_of(settings: TrainingSettings) -> tuple[int, int]:
    """Epochs of phase one and of phase two.

    Raises:
        ValueError: They are still to be resolved.
    """
    if settings.phase1_epochs == "auto" or settings.phase2_epochs == "auto":
        raise ValueError("the numbers of epochs are still auto")
    return settings.phase1_epochs, settings.phase2_epochs

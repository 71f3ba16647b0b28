"""Learning rate schedules. They depend only on the position of a run, so a resumed run cannot deviate."""

import math

from recognition.settings import TrainingSettings


def learning_rate_factor(settings: TrainingSettings, epoch: int, progress: float) -> float:
    """Return the factor that both learning rates are multiplied by.

    The exponential schedule is the published one, x 0.99 after every epoch. The cosine schedule falls to `cosine_end`
    at the end of the run. A linear warm-up multiplies either. `restart_lr_at_phase2` restarts the schedule at the
    beginning of phase two, for every objective, so that runs with different objectives stay comparable.

    Args:
        settings: Schedule and phases, with resolved numbers of epochs.
        epoch: Index of the epoch, from 0.
        progress: Share of the epoch that is complete after this step, in (0, 1].

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
        cosine = 0.5 * (1 + math.cos(math.pi * (done + progress) / (last - first)))
        factor = settings.cosine_end + (1 - settings.cosine_end) * cosine
    if done < settings.warmup_epochs:
        factor *= (done + progress) / settings.warmup_epochs
    return factor


def epochs_of(settings: TrainingSettings) -> tuple[int, int]:
    """Return the numbers of epochs of phase one and phase two.

    Raises:
        ValueError: A number is still "auto".
    """
    if settings.phase1_epochs == "auto" or settings.phase2_epochs == "auto":
        raise ValueError("the numbers of epochs are not resolved yet (auto)")
    return settings.phase1_epochs, settings.phase2_epochs

"""Learning rates of a pre-training as a stateless function of progress."""

import math

from recognition.pretraining.settings import PretrainingLoop


def learning_rate(settings: PretrainingLoop, epoch: int, progress: float) -> float:
    """Return the learning rate of a step.

    It increases linearly during warm-up. Then it follows a cosine to `lr_end`, or is divided by ten at each of
    `lr_steps`.

    Args:
        settings: Settings of the loop.
        epoch: Number of the epoch, from 0.
        progress: Share of the epoch that is complete after this step, in (0, 1].
    """
    done, warmup = epoch + progress, settings.warmup_epochs
    if epoch < warmup:
        return settings.lr * done / warmup
    if settings.schedule == "step":
        return settings.lr * 0.1 ** sum(epoch >= step for step in settings.lr_steps)
    share = (done - warmup) / (settings.epochs - warmup)
    return settings.lr_end + (settings.lr - settings.lr_end) * 0.5 * (1 + math.cos(math.pi * share))

"""Learning rates of a pre-training as a function of where it is, with no state of their own."""

import math

from recognition.pretraining.settings import PretrainingLoop


def learning_rate(settings: PretrainingLoop, epoch: int, progress: float) -> float:
    """The learning rate of a step.

    It grows in a straight line while it warms up. Then a cosine takes it to `lr_end`, or each of `lr_steps` makes it a
    tenth.

    Args:
        settings: The loop's.
        epoch: From 0.
        progress: Share of the epoch that is done after this step, in (0, 1].
    """
    done, warmup = epoch + progress, settings.warmup_epochs
    if epoch < warmup:
        return settings.lr * done / warmup
    if settings.schedule == "step":
        return settings.lr * 0.1 ** sum(epoch >= step for step in settings.lr_steps)
    share = (done - warmup) / (settings.epochs - warmup)
    return settings.lr_end + (settings.lr - settings.lr_end) * 0.5 * (1 + math.cos(math.pi * share))

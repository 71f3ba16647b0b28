"""Learning rates, compared with schedules written out epoch by epoch."""

import math

import pytest

from recognition.settings import TrainingSettings
from recognition.training.schedule import learning_rate_factor


def test_the_published_schedule_falls_by_one_percent_an_epoch_and_is_flat_within_it():
    settings = TrainingSettings()
    factor = 1.0
    for epoch in range(600):
        assert learning_rate_factor(settings, epoch, 0.1) == pytest.approx(factor, rel=1e-12)
        assert learning_rate_factor(settings, epoch, 1.0) == pytest.approx(factor, rel=1e-12)
        factor *= 0.99


def test_restart_begins_with_phase_two_for_every_objective():
    for objective in ("maskclr", "cross_entropy"):
        settings = TrainingSettings(
            phase1_epochs=3, phase2_epochs=2, lr_decay=0.5, restart_lr_at_phase2=True, objective=objective
        )
        assert [learning_rate_factor(settings, epoch, 1) for epoch in range(5)] == [1, 0.5, 0.25, 1, 0.5]


def test_the_cosine_reaches_zero_with_the_last_step():
    settings = TrainingSettings(phase1_epochs=1, phase2_epochs=3, schedule="cosine")
    for epoch in range(4):
        for progress in (0.25, 0.5, 1.0):
            expected = (1 + math.cos(math.pi * (epoch + progress) / 4)) / 2
            assert learning_rate_factor(settings, epoch, progress) == pytest.approx(expected, abs=1e-12)
    assert learning_rate_factor(settings, 3, 1.0) == pytest.approx(0, abs=1e-12)


def test_the_cosine_ends_at_its_share_of_the_initial_rate():
    settings = TrainingSettings(phase1_epochs=4, phase2_epochs=0, schedule="cosine", cosine_end=0.2)
    for epoch in range(4):
        expected = 0.2 + 0.8 * (1 + math.cos(math.pi * (epoch + 1) / 4)) / 2
        assert learning_rate_factor(settings, epoch, 1.0) == pytest.approx(expected, abs=1e-12)
    assert learning_rate_factor(settings, 3, 1.0) == pytest.approx(0.2)


def test_a_cosine_with_restart_covers_each_phase():
    settings = TrainingSettings(phase1_epochs=2, phase2_epochs=4, schedule="cosine", restart_lr_at_phase2=True)
    assert learning_rate_factor(settings, 1, 1.0) == pytest.approx(0, abs=1e-12)
    assert learning_rate_factor(settings, 3, 1.0) == pytest.approx(0.5)
    assert learning_rate_factor(settings, 5, 1.0) == pytest.approx(0, abs=1e-12)


def test_the_warm_up_grows_step_by_step():
    settings = TrainingSettings(phase1_epochs=10, phase2_epochs=0, lr_decay=1.0, warmup_epochs=2)
    factors = [learning_rate_factor(settings, epoch, step / 4) for epoch in range(3) for step in (1, 2, 3, 4)]
    assert factors == [1 / 8, 2 / 8, 3 / 8, 4 / 8, 5 / 8, 6 / 8, 7 / 8, 1, 1, 1, 1, 1]

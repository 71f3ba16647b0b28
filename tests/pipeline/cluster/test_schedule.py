"""Which actor gets which task when, and what happens to tasks that fail."""

import pytest

from pipeline.cluster.schedule import MOST_ATTEMPTS, MOST_LOST, Schedule, Task


def task(name: str, size: int = 1) -> Task:
    return Task(name, name, size)


def names(schedule: Schedule, actor: str = "a", actors: tuple[str, ...] = ("a", "b")) -> list[str]:
    """Names of the videos that an actor gets one after the other."""
    found = []
    while (given := schedule.next_for(actor, actors, [])) is not None:
        found.append(given.name)
    return found


def test_the_largest_videos_come_first():
    assert names(Schedule([task("small", 1), task("large", 9), task("medium", 5)])) == ["large", "medium", "small"]


def test_a_failed_video_is_tried_on_other_actors_after_all_others():
    schedule = Schedule([task("bad", 9), task("good", 1)])
    bad = schedule.next_for("a", ("a", "b"), [])
    assert schedule.failed(bad, "error", "a")
    assert names(schedule, "a") == ["good"]
    assert len(schedule) == 1
    assert schedule.next_for("b", ("a", "b"), []) is bad
    # Nobody is left who has not tried it.
    assert schedule.failed(bad, "error", "b")
    assert schedule.next_for("a", ("a", "b"), []) is bad
    assert not schedule.failed(bad, "error", "a")
    assert len(schedule) == 0


def test_a_suspect_has_its_actor_for_itself():
    schedule = Schedule([task("suspect")])
    suspect = schedule.next_for("a", ("a",), [])
    schedule.failed(suspect, "killed", "a")
    assert schedule.next_for("b", ("b",), [task("running")]) is None
    assert schedule.next_for("b", ("b",), []) is suspect
    schedule = Schedule([task("other")])
    assert schedule.next_for("b", ("b",), [suspect]) is None


@pytest.mark.parametrize(("kinds", "attempts"), [(["error"] * 5, 3), (["killed"] * 5, 3), (["hung"] * 5, 2)])
def test_a_video_is_given_up_after_its_last_attempt(kinds, attempts):
    schedule = Schedule([task("bad")])
    tried = 0
    while (bad := schedule.next_for(f"actor {tried}", (f"actor {tried}",), [])) is not None:
        schedule.failed(bad, kinds[tried], f"actor {tried}")
        tried += 1
    assert tried == attempts


def test_a_lost_node_costs_no_attempt():
    schedule = Schedule([task("large", 9), task("small", 1)])
    large = schedule.next_for("a", ("a",), [])
    for _ in range(10):
        schedule.give_back(large)
        assert schedule.next_for("a", ("a",), []) is large
    assert not large.alone


def test_a_task_that_loses_one_actor_after_the_other_is_given_up():
    schedule = Schedule([task("bad", 9), task("good", 1)])
    given = []
    for number in range(20):
        bad = schedule.next_for(f"actor {number}", (f"actor {number}",), [])
        if bad is None:
            break
        given.append(bad.name)
        if bad.name == "bad":
            schedule.lost(bad, f"actor {number}")
    # From the last but two on, it counts as the cause, and the others come first.
    assert given == [*["bad"] * MOST_LOST, "good", *["bad"] * (MOST_ATTEMPTS - 1)]

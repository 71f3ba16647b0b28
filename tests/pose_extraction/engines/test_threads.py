"""Tests of the policy by which idle threads wait."""

from pose_extraction.engines.threads import SLEEPING, wait_asleep, waits_asleep


def test_threads_sleep_while_they_wait():
    environment = {"PATH": "/bin"}
    wait_asleep(environment)
    assert environment == {"PATH": "/bin", "OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0", "GOMP_SPINCOUNT": "0"}


def test_variables_of_the_user_are_kept():
    environment = {"GOMP_SPINCOUNT": "1000"}
    wait_asleep(environment)
    assert environment == {**SLEEPING, "GOMP_SPINCOUNT": "1000"}


def test_spinning_on_request_stays_complete():
    environment = {"OMP_WAIT_POLICY": "active"}
    wait_asleep(environment)
    assert environment == {"OMP_WAIT_POLICY": "active"}


def test_other_libraries_follow_the_policy(monkeypatch):
    for value, asleep in (("PASSIVE", True), ("passive", True), ("ACTIVE", False)):
        monkeypatch.setenv("OMP_WAIT_POLICY", value)
        assert waits_asleep() == asleep
    monkeypatch.delenv("OMP_WAIT_POLICY")
    assert not waits_asleep()

"""Options of a cluster that are checked before anything is started."""

import sys

import pytest

from pipeline.cluster.options import STALL_SECONDS, ClusterOptions, check_ray
from pose_extraction.errors import BackendError, UsageError


def test_a_missing_ray_is_reported_with_the_extra_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        BackendError, match=r"--engine ray needs ray; run pip install '\.\[ray\]' in the checkout of skelpipe"
    ):
        check_ray()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"actors": 0}, "--actors 0: must be greater than 0"),
        ({"actor_cpus": -1}, "--actor-cpus -1: must be greater than 0"),
        ({"actor_memory": 0.0}, "--actor-memory 0: must be greater than 0"),
        ({"stall_seconds": 0.0}, "--stall-timeout 0: must be greater than 0"),
    ],
)
def test_wrong_values_name_the_option(option, message):
    with pytest.raises(UsageError, match=message):
        ClusterOptions(**option)


def test_a_long_video_may_take_longer_until_it_counts_as_hanging():
    assert ClusterOptions().patience(3600.0) == STALL_SECONDS + 3600.0
    assert ClusterOptions(stall_seconds=10.0).patience(3600.0) == 10.0

"""The short form of the soak: one round of all three jobs, each of which loses something once."""

import pytest

from benchmarks.soak import soak


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_round_of_kills_changes_nothing() -> None:
    told: list[str] = []
    counts = soak(minutes=0, seed=5, kills=1, tell=told.append)
    assert (counts["rounds"], counts["wrong rounds"]) == (1, 0), told
    assert sum(counts.values()) > 1, "something was killed"

"""What a job does while Ray starts, and what it tells of the nodes that it waits for."""

import os
import pathlib
import threading
from collections.abc import Sequence

import pytest

from mrc import tasks
from mrc.errors import UsageError
from mrc.tasks import Node, cores_here, watched_nodes, while_ray_starts


def test_ray_is_started_by_this_thread_while_another_loads() -> None:
    has_begun, may_end = threading.Event(), threading.Event()
    starters: list[threading.Thread] = []

    def start_ray() -> None:
        starters.append(threading.current_thread())
        assert has_begun.wait(60), "what is loaded waits for Ray"
        may_end.set()

    def load() -> str:
        has_begun.set()
        assert may_end.wait(60), "Ray waits for what is loaded"
        return "a tokenizer"

    assert while_ray_starts(start_ray, load) == "a tokenizer"
    assert starters == [threading.current_thread()]


def test_a_model_that_does_not_load_and_ray_that_does_not_start_are_told() -> None:
    def refuse() -> str:
        raise UsageError("no such model")

    with pytest.raises(UsageError, match="no such model"):
        while_ray_starts(lambda: None, refuse)
    with pytest.raises(UsageError, match="no such model"):
        while_ray_starts(refuse, lambda: None)  # type: ignore[arg-type]


def no_cpu(nodes: Sequence[Node]) -> str:
    return "" if any(node.get("CPU") for node in nodes) else "no CPU"


@pytest.mark.parametrize("nodes", [[], [{"GPU": 1.0}]])
def test_a_lack_is_told_after_a_while_also_of_a_cluster_that_did_not_answer_first(
    nodes: list[Node], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls, was_asked = iter(range(1_000)), threading.Event()

    def living_nodes() -> list[Node]:
        number = next(calls)
        if number == 0:
            raise RuntimeError("the head is gone")
        if number == 9:
            was_asked.set()
        return [{"CPU": 1.0}] if number < 4 else nodes

    monkeypatch.setattr(tasks, "_PATIENCE_S", 0.02)
    monkeypatch.setattr(tasks, "living_nodes", living_nodes)
    with watched_nodes(no_cpu):
        assert was_asked.wait(60)
    assert caplog.messages == ["waiting for nodes: no CPU"]


def test_nothing_is_told_of_nodes_that_are_there_or_of_work_that_was_short(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tasks, "living_nodes", lambda: [])
    with watched_nodes(no_cpu):
        pass
    was_asked = threading.Event()
    monkeypatch.setattr(tasks, "_PATIENCE_S", 0.02)

    def living_nodes() -> list[Node]:
        was_asked.set()
        return [{"CPU": 1.0}]

    monkeypatch.setattr(tasks, "living_nodes", living_nodes)
    with watched_nodes(no_cpu):
        assert was_asked.wait(60)
    assert not caplog.messages
    assert not [thread for thread in threading.enumerate() if thread.name == "nodes"]


def test_other_machines_have_the_cores_that_ray_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [
        {"NodeManagerAddress": f"10.0.0.{i}", "Resources": {"CPU": cpus} if cpus else {}}
        for i, cpus in enumerate([4.0, 4.0, 2.5, 0.0])
    ]
    monkeypatch.setattr(tasks, "_living", lambda: nodes)
    monkeypatch.setattr(tasks, "_address_here", lambda: "10.0.0.0")
    monkeypatch.setattr(tasks, "cores_here", lambda: 2)
    assert [node["cores"] for node in tasks.living_nodes()] == [2, 4, 3, 0]
    assert tasks.living_nodes()[2]["CPU"] == 2.5


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 16),
        ({"cpu.max": "max 100000\n"}, 16),
        ({"cpu.max": "350000 100000\n"}, 3),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "6400000 100000\n"}, 16),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 16),
        ({"cpu/cpu.cfs_quota_us": "800000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "800000\n"}, 16),
    ],
)
def test_a_container_has_the_cores_of_its_limit(
    files: dict[str, str], cores: int, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(tasks, "_CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(16), raising=False)
    assert cores_here() == cores

"""Running jobs in tests: in this process for their mistakes, in processes of their own for all that starts Ray."""

import contextlib
import pathlib
import re
import runpy
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import pytest

from mrc.launch import run_job
from tests.processes import Jobs


@dataclass
class Outcome:
    code: int
    stdout: str
    stderr: str
    seconds: float


RunMain = Callable[..., Outcome]


def main_runner(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunMain:
    """Return what runs a job's main in this process, as `python jobs/<name>.py <flags>` does in its own."""

    def run(job: pathlib.Path, *argv: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", [job.name, *argv])
        began = time.monotonic()
        with pytest.raises(SystemExit) as ended:
            run_job(runpy.run_path(str(job))["main"])
        captured = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), captured.out, captured.err, time.monotonic() - began)

    return run


def assert_is_one_error(stderr: str, pattern: str) -> None:
    lines = stderr.splitlines()
    assert len(lines) == 1, stderr
    assert re.match(f"error: .*{pattern}", lines[0]), stderr


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Head(NamedTuple):
    """A running head of a cluster."""

    url: str
    """Where jobs are submitted to."""
    address: str
    """What a driver connects to, as RAY_ADDRESS."""


@contextlib.contextmanager
def head_node(jobs: Jobs, **environment: str) -> Iterator[Head]:
    """Run a Ray head of 4 CPUs with its job server in processes of its own, its workers with an environment."""
    port, dashboard, client, agent, agent_grpc, metrics = free_ports(6)
    command = [
        str(pathlib.Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus=4",
        "--node-ip-address=127.0.0.1", f"--port={port}", f"--temp-dir={jobs.ray_folder}", "--disable-usage-stats",
        "--include-dashboard=true", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}",
        f"--dashboard-agent-listen-port={agent}", f"--dashboard-agent-grpc-port={agent_grpc}",
        f"--metrics-export-port={metrics}", "--object-store-memory=200000000",
    ]  # fmt: skip
    head = jobs.start(command, RAY_ADDRESS="", RAY_JOB_STOP_WAIT_TIME_S="120", **environment)

    def answers() -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", agent), timeout=1).close()
            socket.create_connection(("127.0.0.1", dashboard), timeout=1).close()
            return True
        return False

    head.wait_for(answers, "the job server of the head node")
    try:
        yield Head(f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{port}")
    finally:
        head.kill_all()

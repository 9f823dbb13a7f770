"""Jobs as real processes, each with a Ray cluster of its own: start them, watch their files, kill what is theirs."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parents[1]
DEADLINE_S = 600.0
"""How long to wait for anything: far more than it takes on a busy machine."""


def wait_until(holds: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Poll until a condition holds; fail the test with `what` where it does not in time."""
    end = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < end, f"waited {deadline_s:g} s for {what}"
        time.sleep(0.02)


def descendants(pid: int) -> dict[int, str]:
    """Return the processes below a process, as /proc has them now: their ids and command lines."""
    parents: dict[int, int] = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    below: set[int] = set()
    frontier = {pid}
    while frontier:
        frontier = {child for child, parent in parents.items() if parent in frontier}
        below |= frontier
    return {child: _command(child) for child in below}


def _command(pid: int) -> str:
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@dataclass
class Job:
    """A process, with what it wrote so far."""

    process: "subprocess.Popen[bytes]"
    stdout_path: pathlib.Path
    stderr_path: pathlib.Path

    @property
    def stdout(self) -> str:
        return self.stdout_path.read_text(encoding="utf-8", errors="replace")

    @property
    def stderr(self) -> str:
        return self.stderr_path.read_text(encoding="utf-8", errors="replace")

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def wait(self, deadline_s: float = DEADLINE_S) -> int:
        """Wait for the end and return the exit code."""
        return self.process.wait(deadline_s)

    def wait_for(self, holds: Callable[[], bool], what: str) -> None:
        """Wait until something holds; fail where the process ends before, or in vain."""
        wait_until(lambda: holds() or not self.is_running, what)
        assert holds(), f"the process ended with {self.process.returncode} before {what}:\n{self.stdout}{self.stderr}"

    def worker(self) -> int | None:
        """Return the process id of a training worker of this job, where there is one."""
        workers = (pid for pid, command in descendants(self.process.pid).items() if "RayTrainWorker" in command)
        return next(workers, None)

    def kill_all(self) -> None:
        """End the process and all that it started."""
        below = descendants(self.process.pid)
        if self.is_running:
            self.process.kill()
            self.process.wait()
        for pid, command in below.items():
            if _command(pid) == command:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


class Jobs:
    """Starts processes that know of no other Ray cluster, and ends them all at the end."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.logs = folder
        self._started: list[Job] = []
        # Ray's sockets lie below, and the path of a socket may have 107 bytes.
        self.ray_folder = pathlib.Path(tempfile.mkdtemp(prefix="mrc-ray-"))
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTEST_"))},
            "RAY_TMPDIR": str(self.ray_folder),
            # What a killed process leaves over goes there, too.
            "TMPDIR": str(self.ray_folder),
            "RAY_AUTH_MODE": "disabled",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ADDRESS": "local",
            # Else Ray's workers get a CPU only when nothing else on the machine wants it.
            "RAY_worker_niceness": "0",
            # Nor processes that nobody asked for yet.
            "RAY_enable_worker_prestart": "0",
            "RAY_prestart_worker_first_driver": "0",
            # One process fewer for every run of Ray Train.
            "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
            "OMP_NUM_THREADS": "1",
        }

    def start(self, command: Sequence[str], **changes: str) -> Job:
        """Start a command in the checkout, with changes to the environment; an empty value takes a variable away."""
        number = len(self._started)
        stdout, stderr = self.logs / f"{number}.stdout", self.logs / f"{number}.stderr"
        environment = {name: value for name, value in (self.environment | changes).items() if value}
        with stdout.open("wb") as out, stderr.open("wb") as err:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                start_new_session=True,
            )  # fmt: skip
        job = Job(process, stdout, stderr)
        self._started.append(job)
        return job

    def train(self, *flags: str, **changes: str) -> Job:
        """Start `python jobs/train.py`."""
        return self.start([sys.executable, "jobs/train.py", *flags], **changes)

    def answer(self, *flags: str, **changes: str) -> Job:
        """Start `python jobs/answer.py`."""
        return self.start([sys.executable, "jobs/answer.py", *flags], **changes)

    def close(self) -> None:
        """End everything and forget Ray's files."""
        for job in self._started:
            job.kill_all()
        shutil.rmtree(self.ray_folder, ignore_errors=True)


@contextlib.contextmanager
def running_jobs(folder: pathlib.Path) -> Iterator[Jobs]:
    """Give a Jobs that writes the output of its processes below a folder, and end all of them afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs = Jobs(folder)
    try:
        yield jobs
    finally:
        jobs.close()

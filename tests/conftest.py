"""Fixtures that every test may use, and an environment that is the same on every machine."""

import logging
import os
import pathlib
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.job_runs import RunMain
    from tests.processes import Jobs

# A machine under load is slow, not wrong; and what CI tries is the same each time.
settings.register_profile(
    "mrc", deadline=None, derandomize="CI" in os.environ, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("mrc")

# Side by side, each process computes with its share of the cores.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Before anything imports them: Hugging Face's libraries and Ray read these once.
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ADDRESS": "local",
    # Else workers get a CPU only when nothing else on the machine wants it.
    "RAY_worker_niceness": "0",
    # Else Ray starts a process for each CPU before anybody asks for one, with every cluster and every driver.
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    # Else the threads of a model spin while they wait for each other, on cores that other processes want.
    "OMP_WAIT_POLICY": "PASSIVE",
    # Workers import the package and the tests from the checkout, wherever pytest was started.
    "PYTHONPATH": str(pathlib.Path(__file__).resolve().parents[1]),
}

REAL_DATA = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files with the most slow tests first, so that side by side no long one is left to the end."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """Return the folder of real data sets, which is not part of this project."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"the real data sets are not here: {REAL_DATA}")
    return REAL_DATA


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[str]:
    """Run a cluster of 4 logical CPUs in this process for the session, give its address, and leave nothing running."""
    import ray

    ray.init(
        address="local",
        num_cpus=4,
        object_store_memory=200 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()


@pytest.fixture
def run_main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> "RunMain":
    """Return what runs a job's main in this process."""
    from tests.job_runs import main_runner

    return main_runner(monkeypatch, capsys)


@pytest.fixture
def jobs(tmp_path: pathlib.Path) -> Iterator["Jobs"]:
    """Give what starts jobs in processes of their own, and end them all."""
    from tests.processes import running_jobs

    with running_jobs(tmp_path / "logs") as started:
        yield started

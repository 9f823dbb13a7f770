"""S3 for tests: a real server (SeaweedFS) on this machine, reached through the environment as a user's store would be.

It checks signatures, checksums and preconditions, and identities may be refused. It names folders for a while after
their last file is gone, so every test has a prefix of its own.
"""

import glob
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import fsspec
import pytest

from tests.job_runs import free_ports
from tests.s3_access import BUCKET, READER, WRITER, in_environment, new_place

_START_S = 60.0
_STOP_S = 5.0
_ACTIONS = {WRITER: ["Admin", "Read", "List", "Tagging", "Write"], READER: ["Read", "List"]}
_PORTS = ("s3", "master", "volume", "filer", "admin")


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Run an S3 server on free ports of the loopback for the session, with an empty bucket; give its URL."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="mrc-s3-"))
    ports = _free_ports()
    process = _start(folder, ports)
    try:
        endpoint = f"http://127.0.0.1:{ports['s3.port']}"
        _make_bucket(process, endpoint)
        yield endpoint
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for port in ports.values():
            for left_over in glob.glob(f"/tmp/seaweedfs-*-{port}.sock"):
                os.unlink(left_over)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def s3_bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Point the environment at the store, for child processes too; give the `s3://` URL of an empty place in it."""
    with in_environment(monkeypatch, s3_endpoint):
        yield new_place()


def _free_ports() -> dict[str, int]:
    """Return a port of each service and one for its gRPC."""
    *others, admin = free_ports(2 * len(_PORTS) - 1)
    while admin + 10_000 > 65_535:
        [admin] = free_ports(1)
    names = [f"{name}.port" for name in _PORTS]
    # A part of the server looks for the admin service there, whatever it is told.
    ports = [*others[: len(_PORTS) - 1], admin, *others[len(_PORTS) - 1 :], admin + 10_000]
    return dict(zip([*names, *(f"{name}.grpc" for name in names)], ports, strict=True))


def _start(folder: pathlib.Path, ports: dict[str, int]) -> "subprocess.Popen[bytes]":
    identities = [
        {"name": who.key, "credentials": [{"accessKey": who.key, "secretKey": who.secret}], "actions": actions}
        for who, actions in _ACTIONS.items()
    ]
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
    (folder / "data").mkdir()
    command = [
        str(pathlib.Path(sys.executable).with_name("weed")), "-logtostderr=true", "mini",
        "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder / 'data'}", "-master.telemetry=false",
        "-webdav=false", "-admin.ui=false", f"-s3.config={folder / 's3.json'}", "-s3.autoCreateBucket=false",
        "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.localSocket={folder / 's3.sock'}",
        f"-filer.localSocket={folder / 'filer.sock'}", *(f"-{name}={port}" for name, port in ports.items()),
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _make_bucket(process: "subprocess.Popen[bytes]", endpoint: str) -> None:
    """Wait until the server takes a file and gives it back."""
    filesystem = fsspec.filesystem(
        "s3", key=WRITER.key, secret=WRITER.secret, endpoint_url=endpoint, skip_instance_cache=True,
        client_kwargs={"region_name": "us-east-1"}, config_kwargs={"retries": {"max_attempts": 0}},
    )  # fmt: skip
    end = time.monotonic() + _START_S
    while True:
        assert process.poll() is None, "the S3 server ended"
        try:
            if not filesystem.exists(BUCKET):
                filesystem.mkdir(BUCKET)
            filesystem.pipe_file(f"{BUCKET}/ready", b"ready")
            if filesystem.cat_file(f"{BUCKET}/ready") == b"ready":
                return
        except Exception:
            if time.monotonic() > end:
                raise
        time.sleep(0.1)

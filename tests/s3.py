"""S3 for tests: a moto server on this machine, reached through the environment as a user's store would be."""

import uuid
from collections.abc import Iterator

import fsspec
import pytest
from moto.server import ThreadedMotoServer


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Run an S3 server on a free port of the loopback for the session; give its URL."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Make an empty bucket and point the environment at it, for child processes too; give its `s3://` URL."""
    settings = {
        "AWS_ENDPOINT_URL": s3_endpoint,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "NO_PROXY": "127.0.0.1,localhost",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    # File systems are cached by their arguments, which do not show the endpoint.
    filesystem = fsspec.get_filesystem_class("s3")
    filesystem.clear_instance_cache()
    bucket = f"mrc-{uuid.uuid4().hex}"
    fsspec.filesystem("s3").mkdir(bucket)
    yield f"s3://{bucket}"
    filesystem.clear_instance_cache()

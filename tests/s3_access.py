"""How tests reach an S3 store: who they are, through which variables, and a place of their own."""

import contextlib
import uuid
from collections.abc import Iterator
from typing import NamedTuple

import fsspec
import pytest

BUCKET = "mrc-tests"


class Identity(NamedTuple):
    """Who asks: an access key and its secret."""

    key: str
    secret: str


WRITER = Identity("mrc-writer", "Wr1terSecretThatNobodyMaySee")
READER = Identity("mrc-reader", "Re4derSecretThatNobodyMaySee")
"""May list and read, and nothing else."""
STRANGER = Identity("mrc-writer", "WrongSecretThatNobodyMaySee")
"""Has the writer's key and not its secret."""


def variables(endpoint: str, identity: Identity = WRITER) -> dict[str, str]:
    """Return the environment of a process that is to reach a store as somebody; what is empty is to be unset."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": identity.key,
        "AWS_SECRET_ACCESS_KEY": identity.secret,
        "AWS_DEFAULT_REGION": "us-east-1",
        "NO_PROXY": "127.0.0.1,localhost",
        "AWS_PROFILE": "",
        "AWS_SESSION_TOKEN": "",
        "AWS_CA_BUNDLE": "",
    }


@contextlib.contextmanager
def in_environment(monkeypatch: pytest.MonkeyPatch, endpoint: str, identity: Identity = WRITER) -> Iterator[None]:
    """Point this process and its children at a store."""
    for name, value in variables(endpoint, identity).items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    # File systems are cached by their arguments, which do not show the endpoint.
    filesystem = fsspec.get_filesystem_class("s3")
    filesystem.clear_instance_cache()
    yield
    filesystem.clear_instance_cache()


def new_place() -> str:
    """Return the URL of a place where nothing is."""
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"

"""Faults on order: a store and a model that fail, hang or die where a test says so, in processes that it starts.

The store is `faulty:///any/local/folder`: files of a local disk behind a file system that is none for mrc, which thus
treats it as an object store. Processes find it, and torch's faults, without a line of mrc knowing: both are plugins
(fsspec's `fsspec.specs`, torch's `torch.backends`) of a package that `Faults` writes into a folder on PYTHONPATH.
"""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import re
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

ROOT = pathlib.Path(__file__).resolve().parents[1]
PROTOCOL = "faulty"
_VARIABLE = "MRC_TEST_FAULTS"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One fault."""

    point: str
    """Where: "read", "list", "write", "remove" before that is done, "wrote" and "removed" after it; "model" before a
    batch is read; "save" before torch saves a file to a local disk."""
    match: str
    """A regular expression that is found in the path; for "model" the number of a token in the batch."""
    action: str
    """
    fail           OSError
    hold           wait until the test releases it, see `Faults.held`
    exit           the process ends at once
    kill_driver    SIGKILL for the job's driver, then as `exit`
    """
    skip: int = 0
    """How many matching calls, of all processes, pass before."""
    times: int = 1
    """How many calls it befalls."""


def hold_checkpoint(number: int) -> Rule:
    """Hold the training worker that writes the n-th checkpoint since the rules were set."""
    return Rule(point="save", match=r"/trainer\.pt$", action="hold", skip=number - 1)


class Faults:
    """What a test holds: it sets the rules for all processes that have `environment`."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        package = folder / "plugin" / "mrc_test_faults-0.dist-info"
        package.mkdir(parents=True)
        (package / "METADATA").write_text("Metadata-Version: 2.1\nName: mrc-test-faults\nVersion: 0\n")
        (package / "entry_points.txt").write_text(
            f"[fsspec.specs]\n{PROTOCOL}=tests.faults:FaultyFileSystem\n"
            "[torch.backends]\nmrc_test_faults=tests.faults:befall_torch\n"
        )
        self.environment = {_VARIABLE: str(folder), "PYTHONPATH": f"{package.parent}{os.pathsep}{ROOT}"}
        self.set()

    def set(self, *rules: Rule) -> None:
        """Let these rules hold from now on, and no others; who is held by an old one goes on."""
        with _locked(self._folder):
            for path in self._folder.glob("rule-*"):
                path.unlink()
            _write(
                self._folder / "rules.json", json.dumps([asdict(rule) | {"key": uuid.uuid4().hex} for rule in rules])
            )

    def driver_is(self, pid: int) -> None:
        """Tell whom "kill_driver" kills."""
        _write(self._folder / "driver", str(pid))

    def calls(self, rule: int = 0) -> int:
        """Return how many calls matched a rule, by its place among those set."""
        return _count(self._folder, _rules(self._folder)[rule]["key"])

    def held(self, rule: int | None = None) -> list[int]:
        """Return the ids of the processes that a rule, or any, holds, or held before they died."""
        key = "*" if rule is None else _rules(self._folder)[rule]["key"]
        return [int(path.suffix[1:]) for path in self._folder.glob(f"rule-{key}.held.*")]


def strike(point: str, matches: Callable[[str], bool]) -> None:
    """Do what the rules say for a call at some point."""
    folder = pathlib.Path(os.environ.get(_VARIABLE, ""))
    for rule in _rules(folder) if _VARIABLE in os.environ else ():
        if rule["point"] == point and matches(rule["match"]):
            with _locked(folder):
                number = _count(folder, rule["key"])
                _write(folder / f"rule-{rule['key']}.count", str(number + 1))
            if 0 <= number - rule["skip"] < rule["times"]:
                _act(rule, folder)


def _act(rule: Mapping[str, Any], folder: pathlib.Path) -> None:
    if rule["action"] == "fail":
        raise OSError(errno.EIO, "the store is down")
    if rule["action"] == "hold":
        held = folder / f"rule-{rule['key']}.held.{os.getpid()}"
        held.touch()
        while held.exists():
            time.sleep(0.02)
        return
    if rule["action"] == "kill_driver":
        os.kill(int((folder / "driver").read_text()), signal.SIGKILL)
    os._exit(1)


def _rules(folder: pathlib.Path) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = json.loads((folder / "rules.json").read_text())
    return rules


def _count(folder: pathlib.Path, key: str) -> int:
    with contextlib.suppress(FileNotFoundError):
        return int((folder / f"rule-{key}.count").read_text())
    return 0


def _write(path: pathlib.Path, text: str) -> None:
    """Write a file that readers see whole."""
    temporary = path.with_name(f".{uuid.uuid4().hex}")
    temporary.write_text(text)
    temporary.replace(path)


@contextlib.contextmanager
def _locked(folder: pathlib.Path) -> Iterator[None]:
    with (folder / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class FaultyFileSystem(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """Files of a local disk, as an object store shows them: whole or not at all, and no folders that are empty."""

    protocol = PROTOCOL
    hook: Callable[[str, str], None] | None = None
    """Called with the point and the path of each call in this process, where a test wants to see them all."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._disk = LocalFileSystem()

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        self._strike("list", path)
        entries = [entry for entry in self._disk.ls(path, detail=True) if "/.partial-" not in entry["name"]]
        if not entries:
            raise FileNotFoundError(path)
        return entries if detail else [entry["name"] for entry in entries]

    def info(self, path: str, **options: Any) -> Any:
        self._strike("list", path)
        return self._disk.info(path)

    def created(self, path: str) -> Any:
        return self._disk.created(path)

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        assert mode == "rb", "objects are written whole"
        self._strike("read", path)
        return open(path, "rb")

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        self._strike("read", path)
        return pathlib.Path(path).read_bytes()[start:end]

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        self._strike("write", path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        partial = os.path.join(os.path.dirname(path), f".partial-{uuid.uuid4().hex}")
        pathlib.Path(partial).write_bytes(value)
        try:
            if mode == "create":
                os.link(partial, path)
                os.unlink(partial)
            else:
                os.replace(partial, path)
        finally:
            pathlib.Path(partial).unlink(missing_ok=True)
        self._strike("wrote", path)

    def rm_file(self, path: str) -> None:
        self.rm(path)

    def rm(self, path: str, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Remove one file after the other, as a store does."""
        names = [path] if os.path.isfile(path) else sorted(self._disk.find(path))
        if not names:
            raise FileNotFoundError(path)
        for name in names:
            self._strike("remove", name)
            os.unlink(name)
            self._strike("removed", name)

    def _strike(self, point: str, path: str) -> None:
        if FaultyFileSystem.hook is not None:
            FaultyFileSystem.hook(point, path)
        strike(point, lambda pattern: re.search(pattern, path) is not None)


def befall_torch() -> None:
    """Let faults happen where a model reads a batch and where a file is saved; torch calls it as its import ends."""
    import torch

    embed = torch.nn.functional.embedding

    def embedding(input: Any, *args: Any, **options: Any) -> Any:
        strike("model", lambda token: bool((input == int(token)).any()))
        return embed(input, *args, **options)

    torch.nn.functional.embedding = embedding
    write = torch.save

    def save(value: Any, file: Any, **options: Any) -> None:
        strike("save", lambda pattern: re.search(pattern, str(file)) is not None)
        write(value, file, **options)

    torch.save = save  # type: ignore[assignment]


def url(path: pathlib.Path) -> str:
    """Return a local path as a location in the faulty store."""
    return f"{PROTOCOL}://{path}"


fsspec.register_implementation(PROTOCOL, FaultyFileSystem, clobber=True)

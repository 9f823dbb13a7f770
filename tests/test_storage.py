"""Storage: names are absent or whole on every file system, listings are sorted and fresh."""

import os
import pathlib
import signal
import stat
import subprocess
import sys
import uuid

import fsspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrc import storage
from mrc.errors import RunError, UsageError
from tests.source_files import unhurried

pytest_plugins = ["tests.s3"]


@pytest.fixture(params=["path", "file", "memory", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> str:
    """An empty folder on each kind of file system."""
    if request.param == "s3":
        return f"{request.getfixturevalue('s3_bucket')}/folder"
    urls = {"path": str(tmp_path), "file": f"file://{tmp_path}", "memory": f"memory://{uuid.uuid4().hex}"}
    return urls[request.param]


def names(urls: list[str]) -> list[str]:
    return [url.rsplit("/", 1)[1] for url in urls]


@unhurried
@given(st.binary(max_size=2_000))
def test_bytes_come_back_as_written(data: bytes) -> None:
    url = f"memory://{uuid.uuid4().hex}/file"
    storage.write_bytes(url, data)
    assert storage.read_bytes(url) == data


def test_write_read_replace_remove(folder: str) -> None:
    url = storage.join(folder, "a", "b.txt")
    assert not storage.exists(url)
    storage.write_text(url, "읽다\r\n")
    assert storage.read_text(url) == "읽다\r\n"
    storage.write_bytes(url, b"second")
    assert storage.read_bytes(url) == b"second"
    assert storage.exists(url)
    storage.remove(url)
    storage.remove(url)
    assert not storage.exists(url)


def test_what_is_removed_is_a_name_and_no_pattern(folder: str) -> None:
    for name in ("a[1]/x", "a1/x", "a*/x", "a?/x"):
        storage.write_text(storage.join(folder, name), name)
    for name in ("a[1]", "a*/x", "a?", "a[x]*"):
        storage.remove(storage.join(folder, name))
    assert [url.rsplit("/", 2)[1:] for url in storage.list_files(folder)] == [["a1", "x"]]


def test_tables_come_back_as_written(folder: str) -> None:
    table = pa.table({"id": ["a", "b"], "count": [1, None]})
    url = storage.join(folder, "part.parquet")
    storage.write_table(url, table)
    assert storage.read_table(url).equals(table)
    assert storage.read_table(url, columns=["count"]).column_names == ["count"]


def test_folders_globs_and_files_are_listed_sorted_without_hidden_ones(folder: str) -> None:
    for name in ("b.json", "a.json", "sub/c.json", "d.csv", "_SUCCESS", ".hidden", "_meta/e.json"):
        storage.write_text(storage.join(folder, name), name)
    assert names(storage.list_files(folder)) == ["a.json", "b.json", "d.csv", "c.json"]
    assert names(storage.list_files(storage.join(folder, "*.json"))) == ["a.json", "b.json"]
    assert names(storage.list_files(storage.join(folder, "**/*.json")))[-1] == "c.json"
    (only,) = storage.list_files(storage.join(folder, "d.csv"))
    assert storage.read_text(only) == "d.csv"


def test_what_is_not_there_is_a_usage_error_with_its_url(folder: str) -> None:
    for name in ("none.json", "*.json"):
        url = storage.join(folder, name)
        with pytest.raises(UsageError, match="no file at"):
            storage.list_files(url)
        with pytest.raises(UsageError) as error:
            storage.list_files(url)
        assert url in str(error.value)
    with pytest.raises(UsageError, match="no files below"):
        storage.download_tree(storage.join(folder, "none"), "/nowhere")


def test_a_file_with_glob_characters_in_its_name_is_itself(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a[1]*.json"
    path.write_text("{}")
    (tmp_path / "a1b.json").write_text("{}")
    assert storage.list_files(str(path)) == [str(path)]


def test_unknown_protocols_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="nosuchfs"):
        storage.read_bytes("nosuchfs://a/b")


@pytest.mark.parametrize(
    ("fault", "kind", "remedy"),
    [(PermissionError("403"), UsageError, "credentials"), (OSError("reset"), RunError, "network")],
)
def test_a_store_that_fails_says_what_to_check(
    fault: Exception, kind: type[Exception], remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bool:
        raise fault

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "info", fail)
    with pytest.raises(kind, match=f"memory://bucket/a.*{fault}.*{remedy}"):
        storage.list_files("memory://bucket/a")


def test_a_bucket_that_does_not_exist_is_a_usage_error(s3_bucket: str) -> None:
    with pytest.raises(UsageError, match="no file at s3://no-such-bucket-here"):
        storage.list_files("s3://no-such-bucket-here/a/*.json")


def test_another_processs_files_are_seen_at_once(s3_bucket: str) -> None:
    storage.write_text(f"{s3_bucket}/a", "a")
    assert names(storage.list_files(s3_bucket)) == ["a"]
    other = fsspec.filesystem("s3", skip_instance_cache=True)
    other.pipe_file(f"{s3_bucket}/b", b"b")
    assert names(storage.list_files(s3_bucket)) == ["a", "b"]
    assert storage.exists(f"{s3_bucket}/b")
    other.rm_file(f"{s3_bucket}/a")
    assert not storage.exists(f"{s3_bucket}/a")


def test_a_write_that_raises_halfway_leaves_the_name_as_it_was(folder: str) -> None:
    def fail_halfway(url: str) -> None:
        with storage.open_atomic(url) as file:
            file.write(b"half")
            raise ArithmeticError

    for before in (None, b"old"):
        url = storage.join(folder, f"file-{before!r}")
        if before:
            storage.write_bytes(url, before)
        with pytest.raises(ArithmeticError):
            fail_halfway(url)
        assert storage.exists(url) == bool(before)
        assert not before or storage.read_bytes(url) == before


def test_a_raising_write_leaves_no_temporary_file(tmp_path: pathlib.Path) -> None:
    with pytest.raises(TypeError):
        storage.write_bytes(str(tmp_path / "file"), "text")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


_KILLED_WRITER = """
import sys
from mrc import storage
with storage.open_atomic(sys.argv[1]) as file:
    file.write(b"x" * 100_000)
    file.flush()
    print("halfway", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def killed_write(tmp_path: pathlib.Path) -> pathlib.Path:
    """The path of a file whose writer was killed in the middle."""
    path = tmp_path / "part.bin"
    command = [sys.executable, "-c", _KILLED_WRITER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"halfway\n"
        writer.send_signal(signal.SIGKILL)
        assert writer.wait() == -signal.SIGKILL
    return path


def test_a_killed_write_leaves_no_file_under_its_name(killed_write: pathlib.Path) -> None:
    assert not killed_write.exists()
    assert len(list(killed_write.parent.iterdir())) == 1, "the temporary file shows that it was killed in mid-write"
    with pytest.raises(UsageError, match="no file at"):
        storage.list_files(str(killed_write.parent))
    storage.write_bytes(str(killed_write), b"again")
    assert storage.list_files(str(killed_write.parent)) == [str(killed_write)]


def test_files_have_the_permissions_of_ordinary_files(tmp_path: pathlib.Path) -> None:
    storage.write_bytes(str(tmp_path / "ours"), b"")
    (tmp_path / "theirs").write_bytes(b"")
    modes = {stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in ("ours", "theirs")}
    assert len(modes) == 1


def test_trees_come_back_as_uploaded(folder: str, tmp_path: pathlib.Path) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    contents = {"config.json": b"{}", "deep/er/model.bin": bytes(range(256)) * 400, ".hidden": b"h", "empty": b""}
    for name, data in contents.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)
    url = storage.join(folder, "model")
    storage.upload_tree(source, url)
    storage.upload_tree(source, url)
    storage.download_tree(url, back)
    assert {str(path.relative_to(back)): path.read_bytes() for path in back.rglob("*") if path.is_file()} == contents


def test_join_uses_single_slashes() -> None:
    assert storage.join("s3://bucket/a/", "b", "c.txt") == "s3://bucket/a/b/c.txt"
    assert storage.join("out", "b") == "out/b"


def test_absolute_locations_mean_the_same_everywhere(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    assert storage.absolute("here") == str(tmp_path / "here")
    assert storage.absolute("bert-base-cased") == "bert-base-cased"
    assert storage.absolute("bert-base-cased", new=True) == str(tmp_path / "bert-base-cased")
    assert storage.absolute("s3://bucket/model", new=True) == "s3://bucket/model"

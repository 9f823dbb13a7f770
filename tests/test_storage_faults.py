"""A real S3 server behind a proxy that fails: what is read and written comes through, or is told where it does not."""

import pathlib
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pyarrow as pa
import pytest

from mrc import storage
from mrc.errors import MrcError, RunError, UsageError
from mrc.sources import SourceConfig, plan_units, read_unit
from tests.proxy import Fault, Proxy, Request, checksums_are_refused, preconditions_are_refused
from tests.s3_access import READER, STRANGER, in_environment, new_place
from tests.training_data import make_rows, write_jsonl

pytest_plugins = ["tests.s3"]
# Clients leave broken connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")

BODY = bytes(range(256)) * 2_000


@pytest.fixture(scope="module")
def proxy(s3_endpoint: str) -> Iterator[Proxy]:
    with Proxy(s3_endpoint).running() as proxy:
        yield proxy


@pytest.fixture
def place(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty place, reached through the proxy by clients that try twice themselves."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    monkeypatch.setattr("mrc.storage.patience._LONGEST_WAIT_S", 0.0)
    with in_environment(monkeypatch, proxy.url):
        yield new_place()


def first(fault: Fault, method: str, times: int = 1) -> Callable[[Request], Fault | None]:
    """Let a fault befall the first requests of a method for each key."""
    return lambda request: fault if request.method == method and request.number < times else None


# Requests that fail for once


@pytest.mark.parametrize("fault", ["500", "503", "slow_down", "cut_upload", "cut_answer", "refuse_connection"])
def test_what_is_written_is_whole_though_requests_fail(fault: Fault, proxy: Proxy, place: str) -> None:
    url = f"{place}/file"
    with proxy.failing(first(fault, "PUT")) as struck:
        storage.write_bytes(url, BODY)
    assert struck == {fault: 1}
    assert storage.read_bytes(url) == BODY


@pytest.mark.parametrize("fault", ["500", "503", "slow_down", "cut_download", "delay", "refuse_connection"])
def test_what_is_read_is_whole_though_requests_fail(fault: Fault, proxy: Proxy, place: str) -> None:
    storage.write_bytes(f"{place}/file", BODY)
    with proxy.failing(first(fault, "GET")) as struck:
        assert storage.read_bytes(f"{place}/file") == BODY
    assert struck == {fault: 1}


@pytest.mark.parametrize("fault", ["503", "cut_download"])
@pytest.mark.parametrize("block", [2**30, 100_000])
def test_trees_are_copied_though_requests_fail_again_and_again(
    fault: Fault, block: int, proxy: Proxy, place: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of more than a block are read in parts, which s3fs does not ask for again."""
    monkeypatch.setattr(fsspec.get_filesystem_class("s3"), "default_block_size", block)
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "model.bin").write_bytes(BODY)
    with proxy.failing(first("503", "PUT", times=3)) as struck:
        storage.upload_tree(tmp_path / "from", f"{place}/model")
    assert struck["503"] == 3
    with proxy.failing(lambda request: fault if request.key.endswith("bin") and request.number < 3 else None) as struck:
        storage.download_tree(f"{place}/model", tmp_path / "to")
    assert struck[fault] >= 3
    assert (tmp_path / "to" / "model.bin").read_bytes() == BODY


def test_rows_stream_though_connections_break(proxy: Proxy, place: str, tmp_path: pathlib.Path) -> None:
    rows = make_rows(200, seed=1)
    path = pathlib.Path(write_jsonl(tmp_path / "rows.jsonl", rows))
    storage.write_bytes(f"{place}/rows.jsonl", path.read_bytes())
    storage.write_table(f"{place}/rows.parquet", pa.Table.from_pylist(rows))
    cut = first("cut_download", "GET", times=2)
    with proxy.failing(lambda request: cut(request) if "rows" in request.key else None) as struck:
        for name in ("rows.jsonl", "rows.parquet"):
            units = plan_units(f"{place}/{name}", SourceConfig(), unit_rows=50)
            items = [item for unit in units for item in read_unit(unit, SourceConfig())]
            assert [item.id for item in items] == [row["id"] for row in rows]
    assert struck["cut_download"] == 4


# A store that stays down


OPERATIONS: dict[str, Callable[[str], object]] = {
    "read": storage.read_bytes,
    "write": lambda url: storage.write_bytes(url, b"x"),
    "exists": storage.exists,
    "list": storage.list_names,
    "remove": storage.remove,
    "create": lambda url: storage.create(url, b"x"),
    "stamp": storage.stamp,
    "table": storage.read_table,
}


@pytest.mark.parametrize(("name", "fault"), [(name, "503") for name in OPERATIONS] + [("write", "refuse_connection")])
def test_a_store_that_is_down_is_one_line_with_the_place(
    name: str, fault: Fault, proxy: Proxy, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    url = f"{place}/file"
    with proxy.failing(lambda _: fault), pytest.raises(RunError) as raised, storage.explained():
        OPERATIONS[name](url)
    assert str(raised.value).startswith("the store failed (")
    assert url in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_input_on_a_store_that_is_down_is_not_said_to_be_absent(proxy: Proxy, place: str) -> None:
    storage.write_bytes(f"{place}/rows.jsonl", b"{}")
    with proxy.failing(lambda request: "503" if request.method == "HEAD" else None), pytest.raises(RunError) as raised:
        storage.list_files(f"{place}/rows.jsonl")
    assert "cannot be listed" in str(raised.value)


def test_folders_that_consoles_make_are_no_files(s3_bucket: str, tmp_path: pathlib.Path) -> None:
    bucket, key = s3_bucket.removeprefix("s3://").split("/")
    fsspec.filesystem("s3").call_s3("put_object", Bucket=bucket, Key=f"{key}/model/")
    storage.write_bytes(f"{s3_bucket}/model/a", b"a")
    assert storage.list_names(f"{s3_bucket}/model") == ["a"]
    assert storage.list_files(f"{s3_bucket}/model") == [f"{s3_bucket}/model/a"]
    storage.download_tree(f"{s3_bucket}/model", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


# Refusals


@pytest.mark.parametrize("identity", [READER, STRANGER])
def test_a_refusal_is_told_at_once(identity: object, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = new_place()
    with in_environment(monkeypatch, s3_endpoint):
        storage.write_bytes(f"{place}/there", b"x")
    with in_environment(monkeypatch, s3_endpoint, identity):  # type: ignore[arg-type]
        operations: list[Callable[[], object]] = [
            lambda: storage.write_bytes(f"{place}/file", b"x"),
            lambda: storage.remove(f"{place}/there"),
            lambda: storage.create(f"{place}/file", b"x"),
        ]
        if identity is STRANGER:
            operations += [lambda: storage.exists(f"{place}/there"), lambda: storage.read_bytes(f"{place}/there")]
        for operation in operations:
            with pytest.raises(UsageError, match=f"the store refused .*{place}.*credentials"), storage.explained():
                storage.persistently(operation)
    with in_environment(monkeypatch, s3_endpoint):
        assert storage.read_bytes(f"{place}/there") == b"x"


def test_no_credentials_are_one_line(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_SHARED_CREDENTIALS_FILE": "/nowhere", "AWS_CONFIG_FILE": "/nowhere",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with pytest.raises(MrcError, match=f"{s3_bucket}/a: NoCredentialsError: .*credentials"), storage.explained():
        storage.read_bytes(f"{s3_bucket}/a")


# Creation, once


def test_a_creation_whose_answer_is_lost_is_ones_own(proxy: Proxy, place: str) -> None:
    with proxy.failing(first("cut_answer", "PUT")) as struck:
        assert storage.create(f"{place}/one", b"mine")
    assert struck == {"cut_answer": 1}
    assert not storage.create(f"{place}/one", b"another's")


def test_of_many_creators_one_succeeds_though_answers_are_lost(proxy: Proxy, place: str) -> None:
    with proxy.failing(lambda request: "cut_answer" if request.method == "PUT" and request.number % 3 == 0 else None):
        for number in range(3):
            with ThreadPoolExecutor(4) as pool:
                url = f"{place}/{number}"
                created = list(pool.map(lambda who, url=url: storage.create(url, b"%d" % who), range(4)))
            assert sum(created) == 1
            assert storage.read_bytes(url) == b"%d" % created.index(True)


# Older stores


def test_a_store_without_preconditions_creates_where_there_is_nothing(proxy: Proxy, place: str) -> None:
    with proxy.failing(preconditions_are_refused) as struck:
        assert [storage.create(f"{place}/one", data) for data in (b"a", b"b")] == [True, False]
    assert struck["not_implemented"] > 0
    assert storage.read_bytes(f"{place}/one") == b"a"


def test_a_store_without_checksums_needs_the_settings_of_the_readme(
    proxy: Proxy, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{place}/sub/{uuid.uuid4().hex}"
    with proxy.failing(checksums_are_refused) as struck:
        with pytest.raises(OSError, match=url):
            storage.write_bytes(url, BODY)
        for name in ("AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_RESPONSE_CHECKSUM_VALIDATION"):
            monkeypatch.setenv(name, "when_required")
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        storage.write_bytes(url, BODY)
        assert storage.read_bytes(url) == BODY
        assert storage.list_names(f"{place}/sub") == [url.rpartition("/")[2]]
        # Deletions of many want a checksum whatever is set: files are deleted one by one.
        storage.remove(f"{place}/sub")
        assert storage.list_names(f"{place}/sub") == []
    assert struck["not_implemented"] > 1

"""Hugging Face data sets: saved and loaded ones are read, and with no network a name fails within seconds."""

import pathlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import datasets
import huggingface_hub
import pytest

from mrc.errors import UsageError
from mrc.sources import SourceConfig, plan_units, read_unit
from mrc.sources import hub as hub_module
from mrc.sources.hub import load_dataset
from tests.source_files import make_examples, squad_table

EXAMPLES = make_examples(12)


@pytest.fixture(autouse=True)
def fresh_cache() -> Iterator[None]:
    load_dataset.cache_clear()
    yield
    load_dataset.cache_clear()


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `datasets` believe that it may use the network, whatever the environment says."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_a_saved_data_set_is_read_in_units(tmp_path: pathlib.Path) -> None:
    data = datasets.Dataset(squad_table(EXAMPLES))
    data.save_to_disk(tmp_path / "one")
    datasets.DatasetDict(validation=data).save_to_disk(tmp_path / "several")
    for folder, config in (("one", SourceConfig()), ("several", SourceConfig(split="validation"))):
        units = plan_units(str(tmp_path / folder), config, unit_rows=5)
        assert [(unit.start, unit.stop) for unit in units] == [(0, 6), (6, 12)]
        assert [row for unit in units for row in read_unit(unit, config)] == EXAMPLES
    with pytest.raises(UsageError, match="no split 'train'; choose one of validation with --split"):
        plan_units(str(tmp_path / "several"), SourceConfig())


def test_a_name_is_loaded_with_its_split_configuration_and_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def fake(name: str, config_name: str | None, *, split: str, revision: str | None) -> datasets.Dataset:
        asked.append((name, config_name, split, revision))
        return datasets.Dataset(squad_table(EXAMPLES))

    monkeypatch.setattr(datasets, "load_dataset", fake)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    config = SourceConfig(split="validation", revision="v1", dataset_config_name="mrc")
    units = plan_units("klue/klue", config, unit_rows=6)
    assert [unit.source for unit in units] == ["dataset://klue/klue?name=mrc&split=validation&revision=v1"] * 2
    assert [row for unit in units for row in read_unit(unit, SourceConfig())] == EXAMPLES
    assert asked == [("klue/klue", "mrc", "validation", "v1")], "loaded once a process"
    assert plan_units("squad_kor_v1", SourceConfig())[0].name.startswith("squad_kor_v1-")
    assert plan_units("dataset://squad_kor_v1?split=test", config)[0].stop == len(EXAMPLES)
    assert asked[1:] == [("squad_kor_v1", None, "train", None), ("squad_kor_v1", None, "test", None)]


def test_a_data_set_without_a_column_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.Dataset.from_dict({"text": ["a"]}))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match=r"no column 'question'; .* --question_column \(it has 'text'\)"):
        plan_units("imdb", SourceConfig())


@pytest.mark.usefixtures("online")
def test_with_no_network_a_name_fails_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    started = time.monotonic()
    with pytest.raises(UsageError) as error:
        plan_units("squad_kor_v1", SourceConfig())
    assert time.monotonic() - started < 10
    message = str(error.value)
    assert "\n" not in message
    for part in ("no file or folder 'squad_kor_v1'", "'train'", "--split", "network", "give a path"):
        assert part in message
    assert not datasets.config.HF_HUB_OFFLINE
    assert not huggingface_hub.constants.HF_HUB_OFFLINE


@pytest.mark.usefixtures("online")
def test_a_hub_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    released, offline = threading.Event(), []

    def hang(*_: object, **__: object) -> None:
        released.wait()
        raise OSError

    def fake(*_: object, **__: object) -> None:
        offline.append((datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE))
        raise ConnectionError("unreachable")

    monkeypatch.setattr(socket, "create_connection", hang)
    monkeypatch.setattr(datasets, "load_dataset", fake)
    monkeypatch.setattr(hub_module, "HUB_TIMEOUT_S", 0.05)
    with pytest.raises(UsageError, match="ConnectionError: unreachable"):
        plan_units("squad_kor_v1", SourceConfig())
    released.set()
    assert offline == [(True, True)], "the cache was looked into, and nothing else"


@pytest.mark.usefixtures("online")
@pytest.mark.parametrize("through_proxy", [False, True])
def test_a_hub_that_answers_is_asked(through_proxy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    offline = []

    def fake(*_: object, **__: object) -> datasets.Dataset:
        offline.append(datasets.config.HF_HUB_OFFLINE)
        return datasets.Dataset(squad_table(EXAMPLES))

    monkeypatch.setattr(datasets, "load_dataset", fake)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        if through_proxy:
            monkeypatch.setenv("http_proxy", address)
            monkeypatch.delenv("no_proxy", raising=False)
            monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", "http://hub.invalid" if through_proxy else address)
        plan_units("squad_kor_v1", SourceConfig())
    assert offline == [False]

"""Hugging Face data sets, loaded within a bounded time.

With no network, `datasets` retries for 23 seconds where names do not resolve and for minutes where packets vanish.
So one connection is tried first, for HUB_TIMEOUT_S; where it fails, the data set is looked for in the local cache only.
"""

import contextlib
import functools
import os
import socket
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from mrc.errors import UsageError
from mrc.sources.locate import url_options
from mrc.sources.records import ChooseColumns, Record, table_rows

HUB_TIMEOUT_S = 4.0
"""How long to wait for a first connection to the hub, in seconds."""

_BATCH_ROWS = 1_024


# A worker reads many units of one data set: the memory-mapped Arrow files are opened once a process.
@functools.lru_cache(maxsize=8)
def load_dataset(url: str) -> Any:
    """Return the `datasets.Dataset` of a `dataset://<name or folder>?name=...&split=...&revision=...` URL.

    Every process that calls this keeps the data set open; a machine that has not seen it downloads it.

    Raises:
        UsageError: It cannot be loaded: no such data set, split or revision, or no network.
    """
    import datasets

    options = url_options(url, ("name", "split", "revision"))
    parts = urlsplit(url)
    name, split = unquote(parts.netloc + parts.path), options.get("split", "train")
    if os.path.isdir(name):
        return _load_saved(name, split)
    reachable = datasets.config.HF_HUB_OFFLINE or _hub_answers(datasets.config.HF_ENDPOINT)
    try:
        with contextlib.nullcontext() if reachable else _offline():
            return datasets.load_dataset(name, options.get("name"), split=split, revision=options.get("revision"))
    except Exception as error:
        remedy = (
            "check the name, --split, --revision and --dataset_config_name, or the network (is HF_HUB_OFFLINE set?)"
        )
        cause = f"{type(error).__name__}: {_first_line(error)}"
        raise UsageError(
            f"no file or folder {name!r} is here, and as a Hugging Face data set (split {split!r}) it cannot be "
            f"loaded: {cause}; {remedy}, or give a path to its files"
        ) from error


def read_dataset(url: str, start: int, stop: int, choose: ChooseColumns) -> Iterator[Record]:
    """Yield the rows `[start, stop)` of a data set, with the columns chosen from all that it has."""
    data = load_dataset(url)
    data = data.select_columns(choose(data.column_names)).with_format("arrow")
    for first in range(start, stop, _BATCH_ROWS):
        yield from table_rows(data[first : min(first + _BATCH_ROWS, stop)])


def _load_saved(folder: str, split: str) -> Any:
    """Load what `save_to_disk` wrote: one split, or a dictionary of them."""
    import datasets

    try:
        saved = datasets.load_from_disk(folder)
    except Exception as error:
        raise UsageError(f"{folder}: not a folder of datasets.save_to_disk ({_first_line(error)})") from error
    if isinstance(saved, datasets.Dataset):
        return saved
    if split not in saved:
        raise UsageError(f"{folder}: no split {split!r}; choose one of {', '.join(saved)} with --split")
    return saved[split]


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or ["(no message)"])[0]


def _hub_answers(endpoint: str) -> bool:
    """Tell whether the hub, or the proxy to it, takes a connection within HUB_TIMEOUT_S."""
    parts = urlsplit(endpoint)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    address = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    connected = threading.Event()
    # In a thread, as resolving a name has no time limit of its own.
    attempt = threading.Thread(target=_connect, args=(address, connected), daemon=True)
    attempt.start()
    attempt.join(HUB_TIMEOUT_S)
    return connected.is_set()


def _connect(address: tuple[str, int], connected: threading.Event) -> None:
    with contextlib.suppress(OSError), socket.create_connection(address, timeout=HUB_TIMEOUT_S):
        connected.set()


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Let `datasets` and `huggingface_hub` look into their caches only, as HF_HUB_OFFLINE=1 does at their import."""
    import datasets
    import huggingface_hub

    switches: tuple[Any, ...] = (datasets.config, huggingface_hub.constants)
    before = [switch.HF_HUB_OFFLINE for switch in switches]
    for switch in switches:
        switch.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.HF_HUB_OFFLINE = value

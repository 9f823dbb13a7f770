"""What the user names -> the sources it stands for: files by format, data sets, the built-in sample.

A location is read as, in this order:

1. `sample://...`, the built-in sample, or `dataset://...`, a Hugging Face data set;
2. a folder written by `datasets.save_to_disk`;
3. a path, where something exists at it, or it cannot be a data set's name: it has a protocol, a glob character, a known
   suffix, or begins like a path (`/`, `./`, `../`, `~`);
4. otherwise, a bare word or `owner/name`, a Hugging Face data set.

So a mistyped file is refused at once as a missing file, and only a word that looks like a name is looked up.
"""

import os
import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from mrc import storage
from mrc.errors import UsageError
from mrc.sources.config import Format, SourceConfig

_SUFFIX_FORMATS: dict[str, Format] = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
_DATASET_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_SAVED_DATASET_FILES = ("state.json", "dataset_dict.json")


class Source(NamedTuple):
    """One file, data set or sample, and its format."""

    url: str
    format: Format


def find_sources(locations: str | Sequence[str], config: SourceConfig) -> list[Source]:
    """Return the sources of one or several locations, each once, in the order given (sorted within a location).

    Args:
        locations: One location, several with commas between, or a sequence of locations.
        config: Split, revision and configuration of data sets named by a bare word.

    Raises:
        UsageError: A location holds nothing that can be read.
    """
    names = [name for location in _listed(locations) for name in _split_commas(location)]
    if not names:
        raise UsageError("no input is named; give a file, a folder, a glob, a data set's name or sample://train")
    # Overlapping globs name a file twice; its rows are still one set of rows.
    return list(dict.fromkeys(source for name in names for source in _sources_of(name, config)))


def _listed(locations: str | Sequence[str]) -> Sequence[str]:
    return [location for location in ([locations] if isinstance(locations, str) else locations) if location]


def _split_commas(location: str) -> list[str]:
    is_file = not location.startswith(("sample://", "dataset://")) and storage.exists(location)
    if "," not in location or is_file:
        return [location]
    return [name for part in location.split(",") if (name := part.strip())]


def _sources_of(name: str, config: SourceConfig) -> list[Source]:
    if name.startswith("sample://"):
        return [Source(name, "sample")]
    if name.startswith("dataset://"):
        return [Source(name, "dataset")]
    if _is_saved_dataset(name):
        return [Source(dataset_url(os.path.abspath(name), config), "dataset")]
    if _looks_like_dataset(name):
        return [Source(dataset_url(name, config), "dataset")]
    return _files(name)


def _files(location: str) -> list[Source]:
    """Return the readable files of a location; a file named alone must have a known suffix."""
    files = storage.list_files(os.path.expanduser(location))
    known = [Source(url, file_format) for url in files if (file_format := _format_of(url))]
    if not known:
        suffixes = ", ".join(_SUFFIX_FORMATS)
        raise UsageError(
            f"{files[0]}: format not known by the name; rename the file to one of {suffixes} (or with .gz)"
        )
    return known


def _format_of(url: str) -> Format | None:
    stem, suffix = os.path.splitext(url.lower())
    if suffix != ".gz":
        return _SUFFIX_FORMATS.get(suffix)
    inner = _SUFFIX_FORMATS.get(os.path.splitext(stem)[1])
    return None if inner == "parquet" else inner


def _is_saved_dataset(name: str) -> bool:
    return os.path.isdir(name) and any(os.path.isfile(os.path.join(name, file)) for file in _SAVED_DATASET_FILES)


def _looks_like_dataset(name: str) -> bool:
    is_path = name.startswith(("/", ".", "~")) or _format_of(name) is not None or os.path.exists(name)
    return not is_path and _DATASET_NAME.fullmatch(name) is not None


def dataset_url(name: str, config: SourceConfig) -> str:
    """Return `dataset://<name>?split=...`, which names the rows of a data set without a config."""
    choices = {"name": config.dataset_config_name, "split": config.split, "revision": config.revision}
    return f"dataset://{quote(name)}?{urlencode({key: value for key, value in choices.items() if value})}"


def url_options(url: str, known: Sequence[str]) -> dict[str, str]:
    """Return the options behind the `?` of a URL.

    Raises:
        UsageError: One is not among the known ones.
    """
    options = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    for key in options:
        if key not in known:
            raise UsageError(f"{url}: unknown option {key!r}; the options are {', '.join(known)}")
    return options

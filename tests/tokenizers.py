"""Tiny tokenizers of the families that people fine-tune, trained here on a few sentences: no files, no network.

They are shared by all tests of a process: change a copy (`copy.deepcopy`), never one of these. WordPiece and Unigram
come out with another vocabulary in each process, as their trainers break ties at random: expect nothing of its pieces.
"""

import functools
from collections.abc import Callable

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AlbertTokenizer,
    BertTokenizer,
    DebertaTokenizer,
    GPT2Tokenizer,
    PreTrainedTokenizerFast,
    RobertaTokenizer,
    T5Tokenizer,
    XLMRobertaTokenizer,
    XLNetTokenizer,
)

VOCAB_SIZE = 400

CORPUS = [
    "The quick brown fox jumps over the lazy dog, and the dog does not mind at all.",
    "Who wrote the letter? The letter was written by Anna in 1897, in a small house near the river.",
    "When did the ship leave the harbour? It left on the first of May, with forty people on board.",
    "A reader answers questions about a passage: where, when, who, what, why and how many.",
    "서울은 대한민국의 수도이고 한강이 도시를 가로질러 흐른다.",
    "누가 편지를 썼는가? 그 편지는 안나가 1897년에 강가의 작은 집에서 썼다.",
    "배는 언제 항구를 떠났는가? 배는 오월 첫날에 마흔 명을 태우고 떠났다.",
    "Café, naïve, Zürich, coöperate, señor, São Paulo, smörgåsbord, Łódź.",
]


def bert(*, lower_case: bool) -> PreTrainedTokenizerFast:
    """WordPiece, `[CLS] A [SEP] B [SEP]` with type ids; lower case also strips accents, Hangul down to jamo."""
    return _train(BertTokenizer(do_lower_case=lower_case))


def roberta(*, add_prefix_space: bool = False) -> PreTrainedTokenizerFast:
    """Byte-level BPE with trimmed offsets, `<s> A </s></s> B </s>`, no type ids."""
    return _train(RobertaTokenizer(add_prefix_space=add_prefix_space))


def multilingual_e5() -> PreTrainedTokenizerFast:
    """Unigram under XLM-R's template whose offsets take in the space before a word."""
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=VOCAB_SIZE, special_tokens=specials, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_input_names=["input_ids", "attention_mask"],
    )


def xlnet() -> PreTrainedTokenizerFast:
    """Unigram, `A <sep> B <sep> <cls>` with type ids (the CLS has one of its own), padded on the left."""
    tokenizer = _train(XLNetTokenizer(), padding_side="left")
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    return tokenizer


def gpt2() -> PreTrainedTokenizerFast:
    """Byte-level BPE that adds no special tokens and pads on the left, with its end-of-text token."""
    tokenizer = _train(GPT2Tokenizer(), padding_side="left")
    tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


FAMILIES: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "bert_cased": lambda: bert(lower_case=False),
    "bert_uncased": lambda: bert(lower_case=True),
    "roberta": roberta,
    "roberta_prefix_space": lambda: roberta(add_prefix_space=True),
    "xlm_roberta": lambda: _train(XLMRobertaTokenizer()),
    "multilingual_e5": multilingual_e5,
    "t5": lambda: _train(T5Tokenizer(extra_ids=2)),
    "xlnet": xlnet,
    "gpt2": gpt2,
    "albert": lambda: _train(AlbertTokenizer()),
    "deberta": lambda: _train(DebertaTokenizer()),
}
"""How to make each family's tokenizer anew."""


@functools.cache
def tokenizer_of(family: str) -> PreTrainedTokenizerFast:
    """Return the shared tokenizer of one of FAMILIES."""
    return FAMILIES[family]()


def tokenizers_by_family() -> dict[str, PreTrainedTokenizerFast]:
    """Return the shared tokenizers of all FAMILIES."""
    return {family: tokenizer_of(family) for family in FAMILIES}


def _train(untrained: PreTrainedTokenizerFast, *, padding_side: str = "right") -> PreTrainedTokenizerFast:
    """Return the tokenizer with a vocabulary of CORPUS, and otherwise as its class makes it."""
    trained: PreTrainedTokenizerFast = untrained.train_new_from_iterator(  # type: ignore[no-untyped-call]
        CORPUS, VOCAB_SIZE, show_progress=False
    )
    trained.padding_side = padding_side
    return trained

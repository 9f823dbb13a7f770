"""Readers whose answers mean nothing, to time: an encoder with a random head, or BERT of the base size, all random.

python -m benchmarks.untrained path/to/multilingual-encoder --output reader
python -m benchmarks.untrained path/to/MiniLM --base --output reader
"""

import argparse
from pathlib import Path

import torch
from transformers import BertConfig, BertForQuestionAnswering, PreTrainedModel

from mrc.models import load_model
from mrc.pretrained import load_tokenizer
from mrc.reader import Reader
from mrc.spans import SpanConfig
from mrc.windows import WindowConfig


def main() -> None:
    """Write a reader."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", help="folder of an encoder")
    parser.add_argument("--base", action="store_true", help="take its tokenizer only: 12 layers of 768")
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    tokenizer = load_tokenizer(arguments.encoder)
    if arguments.base:
        model: PreTrainedModel = BertForQuestionAnswering(BertConfig(vocab_size=len(tokenizer)))
    else:
        model = load_model(arguments.encoder)
    arguments.output.mkdir(parents=True)
    reader = Reader(model, tokenizer, WindowConfig(), SpanConfig(), device=torch.device("cpu"), precision="float32")
    reader.save_pretrained(arguments.output)


if __name__ == "__main__":
    main()

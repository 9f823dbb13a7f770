"""Model folders and names on a hub -> config and tokenizer: what a driver needs of a model, and no more.

Nothing of a folder is executed: neither Python code that it brings nor kernels on the hub that its config names are
loaded. (Transformers is to be told so: by default it asks on the console. And by default it has a service on the hub
convert pickled weights, to which it sends the user's token.)
"""

import logging
import os
import pathlib
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from safetensors import SafetensorError
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging as hf_logging

from mrc import storage
from mrc.errors import UsageError
from mrc.windows import PairTokenizer
from mrc.windows.pairs import read_template

_T5_FAMILY = ("t5", "mt5", "umt5")


def load_tokenizer(model: str) -> PreTrainedTokenizerBase:
    """Load the fast tokenizer of a model folder, or of a model on the hub.

    One that pads on the left is made to pad on the right, unless its windows end in their CLS (XLNet). Left padding is
    for generating text. Where it stays, the context comes before the question, as in Hugging Face's run_qa, and a
    decoder, in which no token sees a later one, would answer without the question.

    Raises:
        UsageError: There is no such model, it has no fast tokenizer, without which there are no offsets, or that takes
            no plain text.
    """
    with explained(model):
        tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    if not tokenizer.is_fast:
        raise UsageError(
            f"--model {model}: its tokenizer is not a fast one, so it gives no offsets; choose another model"
        )
    if not read_template(tokenizer).null_is_last:
        # The second is what a folder is written with.
        tokenizer.padding_side = tokenizer.init_kwargs["padding_side"] = "right"
    return tokenizer


def load_pairs(model: str) -> PairTokenizer:
    """Check a model's config and load what windows take of its tokenizer.

    Args:
        model: A folder, the URL of one, or a name on the hub.

    Raises:
        UsageError: As `load_config` and `load_tokenizer` do.
    """
    with storage.local_copy(model) as folder:
        load_config(folder)
        return PairTokenizer.of(load_tokenizer(folder))


def load_config(model: str) -> Any:
    """Load a model's config, the cheapest sign that the model is there. Raises UsageError as `load_model` does."""
    with explained(model):
        config = AutoConfig.from_pretrained(model, trust_remote_code=False)
    if "/" in str(config._attn_implementation):
        raise UsageError(
            f"--model {model}: its config asks for attention by code from the hub ({config._attn_implementation}), "
            "which is not run; take attn_implementation out of its config.json"
        )
    return config


def is_t5_family(config: Any) -> bool:
    """Tell whether a config is of a model whose encoder alone becomes the reader."""
    return config.model_type in _T5_FAMILY


@contextmanager
def explained(model: str) -> Iterator[None]:
    """Turn what transformers raises for a model that cannot be had into one line, and keep its advice to itself."""
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
    verbosity, shows_progress = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity(logging.ERROR)
    hf_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, SafetensorError, pickle.UnpicklingError) as error:
        where = "this folder" if pathlib.Path(model).is_dir() else "neither a folder here nor to be had from the hub"
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if "trust_remote_code" in str(error):
            raise UsageError(
                f"--model {model}: it brings Python code of its own, which is not run; choose a model of a type that "
                "transformers has"
            ) from error
        if isinstance(error, pickle.UnpicklingError) or _lacks_safetensors(model, first_line):
            raise UsageError(
                f"--model {model}: its weights are pickled (.bin), which may run anything when they are read; if you "
                "trust them, write safetensors with from_pretrained and save_pretrained of the class that its config "
                "names under architectures"
            ) from error
        raise UsageError(
            f"--model {model}: {where}: {first_line} (give a folder that AutoModelForQuestionAnswering loads, "
            "or a hub name on a machine that reaches the hub)"
        ) from error
    finally:
        hf_logging.set_verbosity(verbosity)
        if shows_progress:
            hf_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _lacks_safetensors(model: str, complaint: str) -> bool:
    """Tell whether transformers found no safetensors, in a folder with pickled weights or in a repository."""
    of_a_hub = "cannot be loaded with `safetensors`" in complaint
    return of_a_hub or ("no file named" in complaint and bool(list(pathlib.Path(model).glob("*.bin*"))))

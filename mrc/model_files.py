"""A model as files: whether it is there, its reader's settings, and a name for its content.

What a driver learns of a model in a fraction of a second, without transformers, which takes seconds to import.
"""

import hashlib
import json
import os
from dataclasses import asdict
from typing import Any

from mrc import storage
from mrc.errors import UsageError
from mrc.spans import SpanConfig
from mrc.windows import WindowConfig

SETTINGS = "reader.json"
"""The file of a model folder with the settings that its reader was trained and scored with."""

_HASHED_BYTES = 16 * 2**20


def check_there(model: str) -> None:
    """Check that there is a model at all; the rest shows as it is loaded.

    Args:
        model: A folder, the URL of one, or a name on the Hugging Face hub.

    Raises:
        UsageError: There is none, or the hub's cannot be had.
    """
    if _is_hub_name(model):
        from mrc.pretrained import load_config

        load_config(model)
    elif not storage.exists(storage.join(model, "config.json")):
        raise UsageError(
            f"--model {model}: no config.json is there (give a folder that AutoModelForQuestionAnswering loads, or a "
            "hub name on a machine that reaches the hub)"
        )


def load_settings(model: str, changes: dict[str, Any]) -> tuple[WindowConfig, SpanConfig]:
    """Return the settings of a model folder, here or at a URL, with changes; the defaults where the folder has none.

    Raises:
        UsageError: A change is no setting, or out of its range.
    """
    known = {**asdict(WindowConfig()), **asdict(SpanConfig())}
    unknown = changes.keys() - known.keys()
    if unknown:
        raise UsageError(f"unknown setting {', '.join(sorted(unknown))}: the settings are {', '.join(known)}")
    url = storage.join(model, SETTINGS)
    saved = json.loads(storage.read_text(url)) if storage.exists(url) else {}
    values = {name: value for name, value in {**known, **saved, **changes}.items() if name in known}
    window = {name: values.pop(name) for name in asdict(WindowConfig())}
    return WindowConfig(**window), SpanConfig(**values)


def model_fingerprint(model: str) -> str:
    """Name the content of a model: of a folder here all its bytes, elsewhere sizes and tags, on a hub the commit."""
    if _is_hub_name(model):
        from mrc.pretrained import load_config

        return f"commit {getattr(load_config(model), '_commit_hash', None)}"
    digest = hashlib.blake2b(digest_size=16)
    for url in storage.list_files(model):
        digest.update(f"{url.rsplit('/', 1)[-1]}\0".encode())
        if not storage.is_local(url):
            digest.update(storage.stamp(url).encode())
            continue
        with open(storage.local_path(url), "rb") as file:
            while chunk := file.read(_HASHED_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


def _is_hub_name(model: str) -> bool:
    return "://" not in model and not os.path.isdir(model)

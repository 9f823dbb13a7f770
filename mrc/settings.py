"""Resolved configs: as flat mappings that `--config` reads back, and the differences between two of them."""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

import yaml

from mrc import storage


def resolved(*configs: Any) -> dict[str, Any]:
    """Return the fields of several configs as one flat mapping."""
    return {name: value for config in configs for name, value in asdict(config).items()}


def differences(old: Mapping[str, Any], new: Mapping[str, Any], may_change: Collection[str]) -> list[str]:
    """Name the settings in which two resolved configs are different runs, as `--flag: old -> new`.

    Args:
        old: Of the run that is there.
        new: Of the run that is asked for.
        may_change: Settings that say where and how a run runs, and may change between its start and its end.
    """
    # Through YAML and back, so that a tuple and a list are the same.
    old, new = (yaml.safe_load(yaml.safe_dump(dict(values))) for values in (old, new))
    names = sorted((old.keys() | new.keys()) - set(may_change))
    return [f"--{name}: {old.get(name)} -> {new.get(name)}" for name in names if old.get(name) != new.get(name)]


def write_settings(url: str, values: Mapping[str, Any]) -> None:
    """Write a resolved config as YAML."""
    storage.write_text(url, yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True))


def read_settings(url: str) -> dict[str, Any] | None:
    """Return the resolved config that was written, None where there is none."""
    return yaml.safe_load(storage.read_text(url)) if storage.exists(url) else None

"""MLQA for `evaluate.load`, with the language as config name."""

from typing import Any

from mrc.errors import UsageError
from mrc.metrics import SCORERS
from mrc.metrics.modules import base

_LANGUAGES = tuple(name.removeprefix("mlqa_") for name in SCORERS if name.startswith("mlqa_"))


class Mlqa(base.ScorerModule):
    """Exact match and F1 of MLQA: bags of tokens, without all punctuation and the language's articles."""

    def __init__(self, config_name: str | None = None, **kwargs: Any) -> None:
        """Make the module of one language.

        Raises:
            UsageError: `config_name` is no language of MLQA.
        """
        if config_name not in _LANGUAGES:
            raise UsageError(
                f"config name {config_name!r} is no language of MLQA: "
                f"use one of {', '.join(_LANGUAGES)}, such as evaluate.load(module_path('mlqa_de'), 'de')"
            )
        self.scorer_name = f"mlqa_{config_name}"
        super().__init__(config_name=config_name, **kwargs)

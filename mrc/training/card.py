"""The model card: README.md of the model folder."""

from collections.abc import Mapping
from typing import Any

import yaml

_T5_NOTE = """
This reader is the encoder of a T5-family model under dropout and a linear head, with the two labels `start` and `end`.
`AutoModelForQuestionAnswering` does not know it (it would add T5's decoder, with random weights). Besides `mrc.Reader`,
`AutoModelForTokenClassification.from_pretrained(path)` loads it: `logits[..., 0]` are start logits, `logits[..., 1]`
end logits.
"""

_AUTO_NOTE = """
Elsewhere, without mrc:

```python
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

model = AutoModelForQuestionAnswering.from_pretrained("path/to/this/folder")
tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
```
"""

_CALIBRATED = """

`calibration_error` is the expected calibration error, 0 to 1: how far the probability of an answer is from the share of
exact matches among answers of like probability. `temperature` was fitted on the same questions; at a temperature of 1,
as other programs have it, the error is `calibration_error_before`."""


def model_card(config: Mapping[str, Any], result: Mapping[str, Any], *, is_t5: bool) -> str:
    """Describe a model: what it is, what it learned from, what it scored, how to load it.

    Args:
        config: The run's resolved config.
        result: The fields of the run's Result.
        is_t5: Whether it is a T5-family encoder, which no question-answering Auto class loads.
    """
    metrics = result["metrics"]
    figures = [(name, value) for name, value in metrics.items() if isinstance(value, float) and name != "seconds"]
    table = "\n".join(f"| {name} | {value:.4g} |" for name, value in figures)
    scored = (
        f"On {result['validation_questions']:,} validation questions, by the `{result['scorer']}` rule:\n\n"
        f"| figure | value |\n|---|---|\n{table}{_CALIBRATED if 'calibration_error' in metrics else ''}"
        if metrics
        else "It was not validated."
    )
    front = {
        "library_name": "transformers",
        "pipeline_tag": "question-answering",
        "base_model": config["model"],
        "tags": ["extractive-question-answering", "mrc"],
    }
    return f"""---
{yaml.safe_dump(front, sort_keys=False, allow_unicode=True).rstrip()}
---

# Extractive question-answering reader

Fine-tuned with mrc from `{config["model"]}` on `{config["train_data"]}`: {result["train_questions"]:,} questions in
{result["train_windows"]:,} windows, {result["steps"]:,} steps, of which step {result["best_step"]:,} was kept.

## Scores

{scored}

## How to load it

```python
import mrc

reader = mrc.Reader.from_pretrained("path/to/this/folder")
```
{_T5_NOTE if is_t5 else _AUTO_NOTE}
`reader.json` holds the window and decoding settings that it was trained and scored with.

## Config

```yaml
{yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True).rstrip()}
```
"""

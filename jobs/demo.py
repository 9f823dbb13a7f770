"""Train a small reader on the built-in sample, and let it answer questions about passages that it never saw.

    python jobs/demo.py

The flags of jobs/train.py work here too; jobs/demo.yaml has those that are set. Nothing is downloaded.
"""

import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from mrc.examples import Example, Prediction
from mrc.launch import run_job
from mrc.sample import LanguageCode

RECIPE = Path(__file__).with_suffix(".yaml")
ENCODER = "demo/encoder"
SCORERS = {"ko": "korquad", "en": "squad_v2"}
LANGUAGES: dict[LanguageCode, str] = {"ko": "Korean", "en": "English"}
NUM_QUESTIONS = 500


def main() -> None:
    """Train, answer the sample's test questions in both languages, print scores and some answers."""
    from mrc.launch import parse_configs, start_ray
    from mrc.reader import Reader
    from mrc.sample import iter_examples
    from mrc.sample.encoder import save_encoder
    from mrc.training import CONFIGS, plan, run, summary

    argv = ["--config", str(RECIPE), *sys.argv[1:]]
    configs = parse_configs(CONFIGS, str(__doc__), argv)
    if configs[0].model == ENCODER:
        save_encoder(ENCODER)
    planned = plan(*configs)
    start_ray()
    result = run(planned)
    print(summary(result))
    reader = Reader.from_pretrained(result.model)
    for language in LANGUAGES:
        examples = list(iter_examples("test", num_examples=NUM_QUESTIONS, language=language))
        print(report(language, examples, reader.answer(examples)))


def report(language: LanguageCode, examples: Sequence[Example], predictions: Sequence[Prediction]) -> str:
    """Return the scores of one language, and its first passage with all its questions and their answers."""
    from mrc.metrics import get_scorer, score_predictions

    answers = {prediction.id: prediction.answer for prediction in predictions}
    figures = score_predictions(answers, examples, get_scorer(SCORERS[language])).result()
    context = examples[0].context
    lines = [
        "",
        f"{LANGUAGES[language]}: exact match {figures['exact_match']:.1f}, F1 {figures['f1']:.1f} on "
        f"{figures['total']:,} questions about passages it never saw (a quarter of them without an answer)",
        "",
        *textwrap.wrap(context, 100, initial_indent="    ", subsequent_indent="    "),
        "",
    ]
    for example in examples:
        if example.context == context:
            assert example.answers is not None
            gold = " or ".join(answer.text for answer in example.answers) or "no answer"
            given = answers[example.id] or "no answer"
            verdict = f"✓ {given}" if given == gold else f"✗ {given} (gold: {gold})"
            lines.append(f"  {example.question}\n    {verdict}")
    return "\n".join(lines)


if __name__ == "__main__":
    run_job(main)

"""Train a small reader on the built-in sample, let it answer questions about passages that it never saw, and score it.

    python jobs/demo.py

The flags of jobs/train.py work here too; jobs/demo.yaml has those that are set. Nothing is downloaded.
"""

import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from mrc.examples import Example
from mrc.launch import run_job
from mrc.metrics import ScorerName
from mrc.sample import LanguageCode

RECIPE = Path(__file__).with_suffix(".yaml")
ENCODER = "demo/encoder"
EVALUATIONS = "demo/evaluations"
SCORERS: dict[LanguageCode, ScorerName] = {"ko": "korquad", "en": "squad_v2"}
LANGUAGES: dict[LanguageCode, str] = {"ko": "Korean", "en": "English"}
NUM_QUESTIONS = 500


def main() -> None:
    """Train, answer and score the sample's test questions in both languages, print scores and some answers."""
    from mrc.launch import parse_configs, start_ray
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
    for language in LANGUAGES:
        print(evaluate(language, result.model))


def evaluate(language: LanguageCode, model: str) -> str:
    """Answer and score the test questions of one language; return its scores, some answers and where the page is."""
    import pyarrow.parquet as pq

    from mrc.evaluation import EvaluateConfig, prepare, run
    from mrc.report import render
    from mrc.sample import iter_examples
    from mrc.sources import SourceConfig

    config = EvaluateConfig(
        model=model,
        input=f"sample://test?num_examples={NUM_QUESTIONS}&language={language}",
        output=EVALUATIONS,
        run_id=language,
        scorer=SCORERS[language],
        overwrite=True,
    )
    found = run(prepare(config, SourceConfig()), render)
    folder = Path(EVALUATIONS) / "runs" / language
    answers = {row["id"]: row["answer"] for row in pq.read_table(folder / "per_question").to_pylist()}
    examples = list(iter_examples("test", num_examples=NUM_QUESTIONS, language=language))
    return report(language, examples, answers, found.overall.figures) + f"\n\n  more: {folder / 'report.html'}"


def report(
    language: LanguageCode, examples: Sequence[Example], answers: Mapping[str, str], figures: Mapping[str, float]
) -> str:
    """Return the scores of one language, and its first passage with all its questions and their answers."""
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

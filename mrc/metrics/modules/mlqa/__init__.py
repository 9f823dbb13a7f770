"""The `mlqa_*` scorers for `evaluate.load`, by language."""

"""KLUE-MRC for `evaluate.load`."""

from mrc.metrics.modules import base


class KlueMrc(base.ScorerModule):
    """Exact match and ROUGE-W (as `f1`) of KLUE-MRC: the longest run of characters in both texts."""

    scorer_name = "klue_mrc"

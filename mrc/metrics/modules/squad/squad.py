"""SQuAD 1.1 for `evaluate.load`."""

from mrc.metrics.modules import base


class Squad(base.ScorerModule):
    """Exact match and F1 of SQuAD 1.1: bags of white-space tokens, without English articles and ASCII punctuation."""

    scorer_name = "squad"

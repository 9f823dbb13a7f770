"""KorQuAD 1.0 for `evaluate.load`."""

from mrc.metrics.modules import base


class KorQuad(base.ScorerModule):
    """Exact match and F1 of KorQuAD 1.0: bags of characters, quotes and brackets blanked out."""

    scorer_name = "korquad"

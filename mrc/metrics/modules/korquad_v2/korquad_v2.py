"""KorQuAD 2.0 and 2.1 for `evaluate.load`."""

from mrc.metrics.modules import base


class KorQuadV2(base.ScorerModule):
    """Exact match and F1 of KorQuAD 2.0 and 2.1: KorQuAD 1.0's of the text of HTML, without its white space."""

    scorer_name = "korquad_v2"

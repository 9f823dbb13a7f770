"""The `korquad_v2` scorer for `evaluate.load`."""

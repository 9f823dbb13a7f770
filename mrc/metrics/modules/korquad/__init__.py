"""The `korquad` scorer for `evaluate.load`."""

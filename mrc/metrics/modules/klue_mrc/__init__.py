"""The `klue_mrc` scorer for `evaluate.load`."""

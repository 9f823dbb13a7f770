"""The `squad` scorer for `evaluate.load`."""

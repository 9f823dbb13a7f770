"""The `squad_v2` scorer for `evaluate.load`."""

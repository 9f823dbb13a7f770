"""Measurements: each module is run by itself and prints what it measured; dated records stand beside them."""

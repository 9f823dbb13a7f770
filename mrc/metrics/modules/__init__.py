"""Each scorer as a module for Hugging Face `evaluate`: `evaluate.load(mrc.metrics.module_path("korquad"))`, offline.

Those of MLQA are one module with a language: `evaluate.load(mrc.metrics.module_path("mlqa_de"), "de")`.
"""

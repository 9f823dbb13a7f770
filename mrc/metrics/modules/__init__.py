"""Each scorer as a module for Hugging Face `evaluate`: `evaluate.load(mrc.metrics.module_path("korquad"))`, offline."""

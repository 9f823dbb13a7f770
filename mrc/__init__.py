"""Extractive question answering at scale: fine-tune a reader on Ray, answer millions of questions, score them."""

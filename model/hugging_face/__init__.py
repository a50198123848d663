"""Conversion between a run's weights and Transformers' checkpoints."""

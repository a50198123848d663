"""Scores of fine-tuned models on tasks: metrics, intervals and gains, from predictions."""

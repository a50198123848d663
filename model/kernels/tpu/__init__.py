"""Attention on a TPU."""

"""Targets from a trained network: sampling, beam search, and the likelihood of given labels."""

"""The training loop and what surrounds it: checks, first weights, changes, evaluation, log."""

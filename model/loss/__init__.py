"""Losses: cross-entropy without stored logits, the training loss, scoring, distillation."""

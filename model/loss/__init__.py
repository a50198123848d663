"""Cross-entropy without a batch's logits in memory, the training loss, scores of held-out rows."""

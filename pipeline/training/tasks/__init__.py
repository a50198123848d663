"""Tasks in training: given examples, fine-tuning, predictions, scores."""

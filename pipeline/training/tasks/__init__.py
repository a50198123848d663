"""Fine-tuning and scoring on tasks: examples, predictions, evaluation, overlap, sentences."""

"""Tasks in files: what a task is, its examples, and which of them the pretraining corpus holds."""

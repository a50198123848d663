"""Run directories: their files, their checkpoints, finished runs read back."""

"""Checkpoints: written in the background, complete or absent, restored on any mesh."""

"""What a run measures on held-out pages, and the gaps that it fills for people to read."""

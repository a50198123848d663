"""What "better" means: losses per language, step speed-ups, intervals, and their report.

Losses arrive as sums and counts per held-out page. They are combined per language at the very end:
never a mean of means.
"""

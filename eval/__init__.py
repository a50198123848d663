"""What "better" means: losses by language, step speed-ups, intervals, and the report of them.

Losses arrive as sums and counts a held-out page and are combined per language at the very end;
never a mean of means.
"""

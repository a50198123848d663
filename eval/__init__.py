"""What "better" means: losses per language, step speed-ups, intervals, and the report that shows them.

Losses arrive as sums and counts a held-out page and are combined per language at the very end;
never a mean of means.
"""

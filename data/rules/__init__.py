"""Cleaning rules as pure functions, and the rule sets that name them."""

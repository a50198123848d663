"""Curation: what is known about kept pages beyond their rules, as numbers of quality, personal
data, objections of owners, and texts of benchmarks.
"""

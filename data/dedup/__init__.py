"""Duplicates: pages by address, lines by hash, near-duplicates by MinHash."""

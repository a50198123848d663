"""Stages of `mswitch-web` that remove near-duplicates, before those on lines.

`languages` decides each page's language, by thresholds that follow from all pages. `keys` finds
pages that share a MinHash key, `groups` the connected components of these pairs, and `choice` the
pages of each group that stay.
"""

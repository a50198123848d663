"""Decisions after cleaning: scores of each page, and the corpus of the pages that stay, from
scores, lists and robots.txt.
"""

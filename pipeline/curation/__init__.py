"""Decisions after cleaning: scores of each page, the corpus of the pages that stay, withdrawal."""

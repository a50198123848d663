"""Vocabularies and token blocks as artifacts: trained, written, opened and checked."""

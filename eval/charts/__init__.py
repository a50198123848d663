"""Altair charts of the report: each function takes numbers and returns one chart."""

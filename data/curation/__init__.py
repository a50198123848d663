"""Curation: quality, personal data, objections of owners and texts of benchmarks, in kept pages."""

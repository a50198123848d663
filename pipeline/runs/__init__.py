"""Run directories: opening, comparing and reading finished runs."""

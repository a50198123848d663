"""From finished runs to the contents of a report."""

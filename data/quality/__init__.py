"""Numbers about the text of a page, thresholds per language, and the decisions between them."""

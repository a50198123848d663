"""A report's contents as HTML, Markdown and JSON."""

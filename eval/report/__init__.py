"""The report: its contents, and the same contents as HTML, Markdown, JSON and CSV."""

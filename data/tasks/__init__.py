"""Tasks in files: the description of a task, and the examples that its rows make."""

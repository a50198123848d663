"""The commands, one file each: what is its own beside `pipeline/stage.py`."""

"""The log of a run: its lines, curves, trackers and alarms, and the account of its time."""

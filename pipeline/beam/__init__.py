"""Shared by `clean` and `tokenize`: Beam options, runners, counters, resumable work."""

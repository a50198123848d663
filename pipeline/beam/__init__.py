"""What `clean` and `tokenize` share of Beam: options, runners, counters, resumable pieces of work."""

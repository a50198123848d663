"""What all Beam jobs share: options, runners, counters, exchanges, resumable work."""

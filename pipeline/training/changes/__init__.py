"""Settings that may change in mid-run: which are allowed, and what each asks from a step on."""

"""Estimates with intervals in closed form: gains, ratios, speed-ups, the null comparison."""

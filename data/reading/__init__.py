"""Readers of WET, WARC, JSON Lines and Parquet: each yields pages and broken records."""

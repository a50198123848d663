"""Files that stages of a cleaning job leave for their own shard: pages, sorted keys, runs."""

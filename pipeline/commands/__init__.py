"""The commands, one file each: arguments resolved, work described or done, results printed."""

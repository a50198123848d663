"""Accelerators and hosts: peak rates, compiler flags, several hosts, batches on their devices."""

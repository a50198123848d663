"""Accelerators and hosts: peak rates, libtpu, the compilation cache, runs over several hosts."""

"""Accelerators and hosts: peak rates, libtpu, the compilation cache, process groups."""

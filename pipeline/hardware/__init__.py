"""Accelerators and hosts: peak rates, libtpu, the compilation cache, several hosts, `doctor`."""

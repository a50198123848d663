"""The training loop and what surrounds it: checks, logging, preemption, profiling."""

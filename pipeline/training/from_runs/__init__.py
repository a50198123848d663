"""Runs that begin with another run: its weights, its trunk, its experts or its teaching."""

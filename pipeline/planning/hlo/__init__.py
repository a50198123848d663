"""A compiled program read from XLA's text: instructions, loops, their work and collectives."""

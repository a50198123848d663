"""The compiled program, read: instructions, loops, and what they multiply, move and send."""

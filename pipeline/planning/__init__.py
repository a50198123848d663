"""What `mswitch plan` is made of: topologies, compiled programs read as text, roofline, verdict."""

"""What `mswitch plan` is made of: topologies, meshes, compiled programs read as text, rooflines."""

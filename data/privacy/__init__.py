"""Personal data in pages: where addresses and numbers of persons are, and pages without them."""

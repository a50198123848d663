"""Which experts serve which languages, and how much each is worth to them."""

"""What owners of pages have said about their use: robots.txt, opt-out lists, block lists."""

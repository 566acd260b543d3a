"""Providers, one a file: a table of traits and a few pure functions. None knows the core."""

"""Pure functions over `str`: where text may be cut on its way to a provider."""

"""REST: the same model for callers who wait for an answer."""

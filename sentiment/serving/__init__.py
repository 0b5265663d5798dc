"""Serve the model over REST, for callers who wait for an answer."""

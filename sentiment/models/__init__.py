"""Find a registered model, verify it, load it and ask it."""

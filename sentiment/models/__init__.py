"""Find a registered model, verify it, load it and score with it."""

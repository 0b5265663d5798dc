"""Compare services that score one review per request."""

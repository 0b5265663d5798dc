"""Compare ways to score a table of reviews."""

"""List, inspect and read tables of reviews: the rows that exist."""

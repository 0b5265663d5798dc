"""What the service promises under abuse: each cell of the matrix counted, against real processes."""

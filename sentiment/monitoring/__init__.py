"""What the nightly runs did, for those who watch them."""

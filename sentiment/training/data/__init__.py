"""Read labelled reviews, and make clean splits of them."""

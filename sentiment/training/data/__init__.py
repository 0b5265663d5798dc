"""Read labelled reviews: files, labels, splits, the sample."""

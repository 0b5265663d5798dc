"""Hold what all benchmarks need: reviews, encoders, processes, repetitions, results."""

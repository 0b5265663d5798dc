"""Provide reviews, encoders, processes, repetitions and results for all benchmarks."""

"""Parquet reviews in, a published table of scores out, by Spark."""

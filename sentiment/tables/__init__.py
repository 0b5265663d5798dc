"""Score Parquet reviews with Spark and publish the scored table."""

"""Keep the published table and its manifests: the rows that are done. No Spark."""

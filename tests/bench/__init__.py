"""`make bench`: this project beside its peers on the same cores. Not part of the test suite."""

"""Tests of the promises of the service under abuse, on real processes: `pytest -m abuse`, `make abuse`."""

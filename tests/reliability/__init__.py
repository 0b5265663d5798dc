"""Tests of the promises of the store and the job under faults: `pytest -m reliability`, `make faults`."""

"""What the store and the job promise, tried under faults: `python -m tests.faults`."""

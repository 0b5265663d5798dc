"""Compare the speed of fine-tuning with that of a plain Trainer."""

"""Handle what concerns one process of the operating system: its cores, its locks, its telemetry."""

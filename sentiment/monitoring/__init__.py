"""Watch what was scored: profiles, drift, accuracy without and with labels, data quality, report, alerts."""

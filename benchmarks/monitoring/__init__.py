"""Measure how often monitoring is right: false alarms, changes that it finds, and estimated accuracy."""

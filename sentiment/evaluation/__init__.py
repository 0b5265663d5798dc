"""Judge a model on labelled reviews: metrics, calibration, slices, comparison, report and gates."""

"""From labelled reviews to a registered model."""

"""Turn labelled reviews into a registered model."""

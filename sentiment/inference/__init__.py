"""Turn texts into predictions; every packaged model carries a copy of this code.

The modules import one another and `sentiment.schema` relatively, because a model
carries a copy of them under a name of its own (see `sentiment.training.packaging`): a model always
runs the code it was logged with, also beside a newer `sentiment` and beside other models.
"""

"""Turn texts into predictions; every packaged model carries a copy of this code.

Imports inside this package, and of `sentiment.schema`, must be relative: the copy in a model has another
package name (see `sentiment.training.packaging`), so that each model runs the code with which it was logged.
"""

"""What the paper publishes, as data, and the comparison of it with what is computed here."""

from keras_roots.paper import results
from keras_roots.paper.counts import Comparison, Reproduction, list_tables, records, reproduce
from keras_roots.paper.results import FORMS, RESULTS, Result

__all__ = [
    "FORMS",
    "RESULTS",
    "Comparison",
    "Reproduction",
    "Result",
    "list_tables",
    "records",
    "reproduce",
    "results",
]

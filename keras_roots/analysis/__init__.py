"""What filter groups do to a network: covariance between layers, correlation within them, filters.

    from keras_roots import analysis

    found = analysis.analyze(model, images)
    print(found.table().text())

Source: Ioannou et al., arXiv:1605.06489, where the inter-layer covariance of whitened responses
shows filter groups as a block diagonal. Our additions: the number of groups is found from the
covariance; all is computed from moments in one pass, in memory that does not depend on the number
of images.
"""

from keras_roots.analysis.filters import Filters, first_filters
from keras_roots.analysis.plan import Plan, plan
from keras_roots.analysis.results import Analysis, Correlation, Covariance
from keras_roots.analysis.single_pass import analyze, run

__all__ = [
    "Analysis",
    "Correlation",
    "Covariance",
    "Filters",
    "Plan",
    "analyze",
    "first_filters",
    "plan",
    "run",
]

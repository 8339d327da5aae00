"""How far a share that was counted may be from the true one."""

from keras_roots.requirements import require_extras


def require() -> None:
    """Raises a ModuleNotFoundError, before the work, unless intervals can be computed."""
    require_extras("The interval of an accuracy", {"scipy": "datasets"})


def wilson(correct: int, images: int) -> tuple[float, float]:
    """95% interval of a share, 0 to 1: Wilson's, which holds for few images and at 0 and 1."""
    from scipy.stats import binomtest

    interval = binomtest(correct, images).proportion_ci(method="wilson")
    return interval.low, interval.high

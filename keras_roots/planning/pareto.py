"""The Pareto set of points: those that no other is as good as, and better in something."""

import numpy as np


def pareto(points: np.ndarray) -> np.ndarray:
    """Which points are Pareto-optimal.

    Args:
        points: [points, quantities]; of each quantity less is better. Equal
            points stand or fall together.

    Returns:
        Booleans, [points].
    """
    points = np.asarray(points, float)
    optimal = np.zeros(len(points), bool)
    front = np.empty((0, points.shape[1]))
    # In this order no point is dominated by a later one.
    for place in np.lexsort(points.T[::-1]):
        point = points[place]
        as_good = (front <= point).all(axis=1)
        if not (as_good & (front < point).any(axis=1)).any():
            optimal[place] = True
            if not as_good.any():
                front = np.vstack([front, point])
    return optimal

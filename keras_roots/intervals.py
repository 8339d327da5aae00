"""How far a share that was counted may be from the true one."""

import math
import statistics


def wilson(correct: int, images: int) -> tuple[float, float]:
    """95% interval of a share, 0 to 1: Wilson's, which holds for few images and near 0 and 1 too.

    Raises:
        ValueError: there are no images, or fewer than are correct.
    """
    if not 0 <= correct <= images or images == 0:
        raise ValueError(f"Expected 0 to {images} correct of one image or more: {correct}")
    squared = statistics.NormalDist().inv_cdf(0.975) ** 2
    centre = (correct + squared / 2) / (images + squared)
    half = math.sqrt(squared * (correct * (images - correct) / images + squared / 4))
    half /= images + squared
    # At the ends a rounding error would lie beyond.
    low = 0.0 if correct == 0 else centre - half
    high = 1.0 if correct == images else centre + half
    return low, high

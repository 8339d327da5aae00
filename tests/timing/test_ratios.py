import numpy as np
import pytest

from keras_roots.timing.ratios import FEWEST_ROUNDS, Ratio, ratio_of_medians


def rounds(rng, center, noise, drift, per_turn=5):
    """Times that share a drift round by round."""
    own = rng.normal(1, noise, (len(drift), per_turn))
    return center * own * drift[:, np.newaxis]


def test_the_ratio_is_that_of_the_medians():
    ratio = ratio_of_medians([[1.0, 9.0, 2.0]] * 6, [[4.0, 8.0, 5.0]] * 6, paired=True)
    assert ratio == Ratio(2 / 5, 2 / 5, 2 / 5)
    assert str(ratio) == "0.40"
    assert not ratio.is_one


def test_of_a_candidate_to_itself():
    seconds = np.random.default_rng(0).uniform(1, 2, (8, 3))
    assert ratio_of_medians(seconds, seconds, paired=True) == Ratio(1, 1, 1)
    assert ratio_of_medians(seconds, seconds, paired=False).is_one


def test_the_interval_covers_the_true_ratio_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(60):
        drift = rng.lognormal(0, 0.2, 15)
        ratio = ratio_of_medians(
            rounds(rng, 0.62, 0.03, drift), rounds(rng, 1.0, 0.03, drift), paired=True
        )
        covered += ratio.low <= 0.62 <= ratio.high
    # 95% of 60 are 57; fewer than 50 has a probability of 2e-4.
    assert covered >= 50


def test_a_drift_that_all_share_matters_less_to_rounds_that_are_paired():
    rng = np.random.default_rng(1)
    drift = rng.lognormal(0, 0.3, 15)
    ours, dense = rounds(rng, 0.6, 0.01, drift), rounds(rng, 1.0, 0.01, drift)
    paired, apart = (ratio_of_medians(ours, dense, paired=each) for each in (True, False))
    assert paired.high - paired.low < (apart.high - apart.low) / 2
    assert str(apart).startswith("too noisy (")


def test_noise_is_said_and_not_printed_as_digits():
    rng = np.random.default_rng(2)
    calm = np.ones(12)
    quiet = ratio_of_medians(
        rounds(rng, 0.6, 0.01, calm), rounds(rng, 1.0, 0.01, calm), paired=True
    )
    assert quiet.is_known
    assert str(quiet) == "0.60"
    loud = ratio_of_medians(
        0.6 * rng.lognormal(0, 0.8, (12, 5)), rng.lognormal(0, 0.8, (12, 5)), paired=True
    )
    assert not loud.is_known
    assert str(loud) == f"too noisy ({loud.low:.2f} to {loud.high:.2f})"


def test_few_rounds_tell_nothing():
    seconds = [[1.0, 1.0]] * (FEWEST_ROUNDS - 1)
    ratio = ratio_of_medians(seconds, seconds, paired=True)
    assert (ratio.low, ratio.high, ratio.is_known, ratio.is_one) == (None, None, False, True)
    assert str(ratio) == "too few rounds (under 6)"


def test_pairs_of_different_numbers():
    with pytest.raises(ValueError, match="as many rounds of both. Received: 1 and 2"):
        ratio_of_medians([[1.0]], [[1.0], [1.0]], paired=True)

"""Effects on the edge of stability, of which only the two rungs around it are known.

Model: the edge (log10 of the learning rate) of block i under level l is mu_l + b_i + e_il, with b_i ~ N(0, s_b^2) what
a block's levels share and e_il ~ N(0, s_e^2) the rest; what is seen is the interval between two rungs, with an infinite
end where the edge lies beyond all of them. The likelihood of a block is the integral over b of a product of normal
interval probabilities (trapezoid rule). The effect is a contrast of the mu; its interval holds the values that profile
likelihood does not reject, with the quantile of Student's t squared in place of chi squared, since there are few
blocks. Where the rungs are too coarse to tell, the likelihood is flat, and the interval says so.
"""

import math

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_ndtr, logsumexp
from scipy.stats import t

from sweep.analysis.claims.effects import Effect, unknown
from sweep.analysis.claims.pairs import Floats, Pairs

NODES = np.linspace(-4.0, 4.0, 41)
"""Where b is evaluated, in s_b; close enough together for every s_e within LOG_RATIOS."""
LOG_WEIGHTS = -0.5 * NODES**2 - logsumexp(-0.5 * NODES**2)
FARTHEST = 6.0
"""Decades beyond the estimate up to which an end of the interval is searched; beyond it is infinite."""
RESOLUTION = 0.005
"""To so many decades are the ends of the interval known."""
NEAR = 0.005
"""And this close, in standard errors, is enough, too."""
FIRST_STEP = 0.25
"""Where the search for an end begins, decades from the estimate."""
LOG_SDS = (math.log(0.01), math.log(10.0))
"""Range of s_e, decades: the edges of one block never agree to more than a hundredth of a decade."""
LOG_RATIOS = (math.log(0.05), math.log(5.0))
"""Range of s_b / s_e."""
LOG_ROOT_2PI = 0.5 * math.log(2 * math.pi)


def edge_effect(pairs: Pairs, value: float, level: float) -> Effect:
    """The contrast of the mean edges, in decades.

    Args:
        pairs: of the response `edge_lr`.
        value: what the effect is tested against.
        level: two-sided, in (0, 1).
    """
    num = len(pairs)
    if num < 2:
        return unknown(float(pairs.effects.mean()) if num else math.nan, *NAMES)
    if (pairs.censored.all(axis=0) & (pairs.weights != 0)).sum() > 1:
        # Of one level whose edges all lie beyond the rungs it is known on which side they are; of two, nothing.
        return unknown(float(pairs.effects.mean()), *NAMES)
    model = _Edges(pairs.low, pairs.high, pairs.weights)
    estimate, best, start = model.fit(pairs.values)
    if pairs.censored.all(axis=0).any():
        # The most likely effect is as far off as the fit went: the outermost rungs say more.
        estimate = float(pairs.effects.mean())
        start = model.profile(estimate, model.guess(pairs.values)[1:])[1]
    reach = float(t.isf(level / 2, num - 1))
    low = _end(model, estimate, start, best, reach, -1.0)
    high = _end(model, estimate, start, best, reach, 1.0)
    drop = max(0.0, 2 * (best - model.profile(value, start)[0]))
    p = 2 * float(t.sf(math.sqrt(drop), num - 1))
    sd = float(np.linalg.norm(pairs.weights) * math.exp(start[-1]))
    return Effect(estimate, low, high, p, sd, *NAMES)


NAMES = (
    "normal model of interval-censored edges with a random intercept for each block, profile likelihood",
    "Blocks are independent, edges roughly normal in decades around their block; stable below the edge.",
)


class _Edges:
    """The likelihood of edges that lie in (low, high], both [N, C]."""

    def __init__(self, low: Floats, high: Floats, weights: Floats) -> None:
        self._low, self._high = low, high
        self._weights = weights
        # mu = contrast * along + across.T @ rest: the rest does not change the contrast.
        self._along = weights / float(weights @ weights)
        self._across = np.linalg.svd(weights[None, :])[2][1:]  # [C-1, C]

    def guess(self, middle: Floats) -> Floats:
        """Contrast and other parameters to begin with, from a guess of each edge, [N, C]."""
        mu = middle.mean(axis=0)
        scale = math.log(max(float((middle - mu).std()), 0.05))
        return np.array([self._weights @ mu, *(self._across @ mu), 0.0, scale])

    def fit(self, middle: Floats) -> tuple[float, float, Floats]:
        """Estimate of the contrast, largest log likelihood, and the other parameters there.

        Args:
            middle: a guess of each edge to begin with, [N, C].
        """
        point, best = self._maximize(self.guess(middle), 0)
        return float(point[0]), best, point[1:]

    def profile(self, contrast: float, start: Floats) -> tuple[float, Floats]:
        """The largest log likelihood with the contrast held, and the other parameters there."""
        point, best = self._maximize(np.array([contrast, *start]), 1)
        return best, point[1:]

    def _maximize(self, begin: Floats, held: int) -> tuple[Floats, float]:
        """The largest log likelihood over all parameters but the first `held` ones."""

        def negative(x: Floats) -> tuple[float, Floats]:
            value, gradient = self._log_likelihood(np.concatenate([begin[:held], x]))
            return -value, -gradient[held:]

        bounds = [(None, None)] * (len(begin) - held - 2) + [LOG_RATIOS, LOG_SDS]
        found = minimize(negative, begin[held:], jac=True, method="L-BFGS-B", bounds=bounds)
        return np.concatenate([begin[:held], found.x]), -float(found.fun)

    def _log_likelihood(self, params: Floats) -> tuple[float, Floats]:
        """Log likelihood and its gradient; params: the contrast, the rest of mu, log(s_b / s_e), log s_e."""
        mu = params[0] * self._along + params[1:-2] @ self._across
        own = math.exp(params[-1])
        shared = own * math.exp(params[-2])
        center = mu + shared * NODES[:, None, None]  # [nodes, 1, C]
        low, high = (self._low - center) / own, (self._high - center) / own  # [nodes, N, C]
        logs = _log_between(low, high)
        joint = logs.sum(axis=2) + LOG_WEIGHTS[:, None]
        blocks = logsumexp(joint, axis=0)
        posterior = np.exp(joint - blocks)[:, :, None]
        at_low, at_high = _hazard(low, logs), _hazard(high, logs)
        by_center = posterior * (at_low - at_high) / own
        by_own = posterior * (_times(low, at_low) - _times(high, at_high))
        by_mu = by_center.sum(axis=(0, 1))
        by_shared = float((by_center * NODES[:, None, None]).sum()) * shared
        gradient = np.array([by_mu @ self._along, *(self._across @ by_mu), by_shared, by_own.sum() + by_shared])
        return float(blocks.sum()), gradient


def _log_between(low: Floats, high: Floats) -> Floats:
    """log(Phi(high) - Phi(low)), exact in the tails."""
    flip = low > 0
    upper, lower = log_ndtr(np.where(flip, -low, high)), log_ndtr(np.where(flip, -high, low))
    return np.asarray(upper + np.log1p(-np.exp(np.minimum(lower - upper, -1e-12))), dtype=np.float64)


def _hazard(x: Floats, logs: Floats) -> Floats:
    """phi(x) / exp(logs); 0 at infinity."""
    return np.exp(np.minimum(-0.5 * x * x - LOG_ROOT_2PI - logs, 700.0))


def _times(x: Floats, weight: Floats) -> Floats:
    """x * weight, 0 where the weight is (at infinity)."""
    return np.where(weight > 0, np.where(np.isfinite(x), x, 0.0) * weight, 0.0)


def _end(model: _Edges, estimate: float, start: Floats, best: float, reach: float, side: float) -> float:
    """Where the signed root of the likelihood ratio, which is nearly a line, reaches so many errors on one side."""
    inside, below, params = 0.0, -reach, start
    outside = FIRST_STEP
    while True:
        found, there = model.profile(estimate + side * outside, params)
        above = math.sqrt(max(0.0, 2 * (best - found))) - reach
        if above >= 0:
            break
        inside, below, params = outside, above, there
        outside *= 2
        if outside > FARTHEST:
            return side * math.inf
    while outside - inside > RESOLUTION:
        # A secant step that stays off both ends, since far out the root is no line.
        middle = inside + (outside - inside) * min(max(-below / (above - below), 0.1), 0.9)
        found, there = model.profile(estimate + side * middle, params)
        excess = math.sqrt(max(0.0, 2 * (best - found))) - reach
        if abs(excess) < NEAR:
            return estimate + side * middle
        if excess >= 0:
            outside, above = middle, excess
        else:
            inside, below, params = middle, excess, there
    return estimate + side * outside

"""Whether a searched setting matters at all, or whether chance alone would look as much as it does.

A test by resampling for each setting. What the other settings explain is taken out by a smooth fit (kernel ridge
regression), and the test asks whether settings that lie close to each other in this one have residuals alike, more than
under residuals of random sign. So a setting that the search merely tried together with another one does not count, and
neither an edge on both sides nor an interaction is missed for its shape. Signs are drawn rather than residuals
shuffled, since outcomes are noisiest at the boundary: shuffled, up to 18 of 100 simulated studies named a setting that
did nothing, at a level of 5 (docs/LOG.md).

Source: Wu, Annals of Statistics 14 (1986), for residuals of random sign (the wild bootstrap); Gretton et al., ALT 2005,
for the statistic.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from sweep.boundary.encoding import Encoding, Floats
from sweep.boundary.threads import one_thread
from sweep.space import Scalar

MIN_SETTINGS = 12
"""Fewer different settings are too few to tell anything from noise."""
_MAX_SETTINGS = 300
"""More are drawn from: the time grows with the third power."""
_NUM_DRAWS = 1999
"""Sets of random signs."""
_LENGTHS = (0.3, 0.6, 1.2)
"""Length scales of the smooth fit, in units of a setting's range."""
_NOISES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Noise variances of the smooth fit, in units of the function's variance."""
_TEST_LENGTH = 0.2
"""How near two settings are to count as close, in units of the range: less than a stable stretch between two edges."""
_SEED = 0


@one_thread()
def noise_chances(
    encoding: Encoding, settings: Sequence[Mapping[str, Scalar | None]], values: Sequence[Sequence[float]]
) -> list[dict[str, float]] | None:
    """For each question and setting: how often chance alone would make the setting look as if it mattered so much.

    Args:
        encoding: of the searched space.
        settings: of each training. Equal ones count once, with the mean of their values.
        values: for each question, a finite value of each training.

    Returns:
        For each question, dotted path -> p value in (0, 1]; None with fewer than MIN_SETTINGS different settings.
    """
    known = _rows(encoding, settings, values)
    if known is None:
        return None
    features, targets, signs = known
    owners = np.array(encoding.owners)
    found: list[dict[str, float]] = [{} for _ in targets]
    for path in encoding.paths:
        own, others = features[:, owners == path], features[:, owners != path]
        if len(np.unique(own, axis=0)) < 2:
            continue
        alike = _centred(own) * (1 + _kernel(others, _TEST_LENGTH))
        fits = [np.linalg.eigh(_kernel(others, length)) for length in _LENGTHS]
        for chances, target in zip(found, targets, strict=True):
            chances[path] = _chance(target, fits, alike, signs)
    return found


@one_thread()
def pair_chance(
    encoding: Encoding,
    settings: Sequence[Mapping[str, Scalar | None]],
    values: Sequence[float],
    pair: tuple[str, str],
) -> float:
    """How often chance alone would make two settings look as if they acted together so much; 1 if nothing can be told.

    What is taken out first is everything that one of the two explains without the other.

    Args:
        encoding: of the searched space.
        settings: of each training.
        values: a finite value of each training.
        pair: dotted paths.
    """
    known = _rows(encoding, settings, [values])
    if known is None:
        return 1.0
    features, (target,), signs = known
    owners = np.array(encoding.owners)
    first, second = (features[:, owners == path] for path in pair)
    without = [features[:, owners != path] for path in pair]
    others = features[:, ~np.isin(owners, pair)]
    alike = _centred(first) * _centred(second) * (1 + _kernel(others, _TEST_LENGTH))
    fits = [np.linalg.eigh(_kernel(without[0], length) + _kernel(without[1], length)) for length in _LENGTHS]
    return _chance(target, fits, alike, signs)


def _rows(
    encoding: Encoding, settings: Sequence[Mapping[str, Scalar | None]], values: Sequence[Sequence[float]]
) -> tuple[Floats, list[Floats], Floats] | None:
    """Features of different settings [N, F], their mean values [N] each, and draws of N signs; None if they are few."""
    features, group = np.unique(encoding.encode(settings), axis=0, return_inverse=True)
    if len(features) < MIN_SETTINGS:
        return None
    sizes = np.bincount(group)
    means = [np.bincount(group, weights=np.asarray(one, dtype=float)) / sizes for one in values]
    rng = np.random.default_rng(_SEED)
    chosen = np.sort(rng.permutation(len(features))[:_MAX_SETTINGS])
    signs = rng.choice([-1.0, 1.0], size=(len(chosen), _NUM_DRAWS))
    return features[chosen], [_standardized(one[chosen]) for one in means], signs


def told_apart(chances: Mapping[str, float], level: float = 0.05) -> frozenset[str]:
    """The settings that matter beyond noise for one question.

    If none does in truth, this names any with a chance of `level` at most, over all settings together (Holm, Scand. J.
    Statistics 6 (1979)).
    """
    told: set[str] = set()
    for rank, (p, path) in enumerate(sorted((p, path) for path, p in chances.items())):
        if p > level / (len(chances) - rank):
            break
        told.add(path)
    return frozenset(told)


def _standardized(values: Floats) -> Floats:
    spread = float(values.std())
    return (values - values.mean()) / spread if spread > 0 else np.zeros(len(values))


def _kernel(features: Floats, length: float) -> Floats:
    """Matern 5/2, [N, N]; all ones without any feature."""
    distance = np.sqrt(((features[:, None, :] - features[None, :, :]) ** 2).sum(axis=2)) * (np.sqrt(5.0) / length)
    kernel: Floats = (1 + distance + distance**2 / 3) * np.exp(-distance)
    return kernel


def _centred(features: Floats) -> Floats:
    """How close two trainings are, without what is the same for all, [N, N]."""
    close = _kernel(features, _TEST_LENGTH)
    centred: Floats = close - close.mean(axis=0) - close.mean(axis=1)[:, None] + close.mean()
    return centred


def _chance(target: Floats, fits: Sequence[tuple[Floats, Floats]], alike: Floats, signs: Floats) -> float:
    if not target.any():
        return 1.0
    alike = alike - np.diag(np.diag(alike))
    remover = _remover(target, fits)
    residual = remover @ target
    redrawn = remover @ ((target - residual)[:, None] + signs * residual[:, None])
    seen = _statistic(residual[:, None], alike)[0]
    num_as_much = int((_statistic(redrawn, alike) >= seen - 1e-12).sum())
    return (1 + num_as_much) / (1 + _NUM_DRAWS)


def _statistic(residuals: Floats, alike: Floats) -> Floats:
    found: Floats = ((alike @ residuals) * residuals).sum(axis=0) / np.maximum((residuals**2).sum(axis=0), 1e-12)
    return found


def _remover(target: Floats, fits: Sequence[tuple[Floats, Floats]]) -> Floats:
    """The matrix that leaves what the likeliest smooth fit of the other settings does not explain, [N, N]."""
    best, best_score = np.eye(len(target)), -np.inf
    for values, vectors in fits:
        values = np.maximum(values, 0.0)
        rotated = vectors.T @ target
        for noise in _NOISES:
            spread = values + noise
            # The likelihood at its best variance.
            score = -0.5 * len(target) * np.log((rotated**2 / spread).mean()) - 0.5 * np.log(spread).sum()
            if score > best_score:
                best, best_score = (vectors * (noise / spread)) @ vectors.T, score
    return best

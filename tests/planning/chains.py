"""Costs along a chain of groups: each link's cost is a table over the widths of two neighbours, as layers have it."""

from dataclasses import dataclass

import numpy as np

from compressor.planning.frontier import Candidates


@dataclass(frozen=True)
class Chain:
    """A cost, as `planning.frontier` asks for it."""

    counts: dict  # group -> (n,) counts, in the order of the chain
    tables: list  # of each neighbouring pair: (n of one, n of the next)

    def places(self, n_keep):
        return [int(np.searchsorted(self.counts[name], n_keep[name])) for name in self.counts]

    def whole(self, n_keep):
        places = self.places(n_keep)
        return sum(float(table[places[i], places[i + 1]]) for i, table in enumerate(self.tables))

    def alternatives(self, n_keep, group, counts):
        return np.array([self.whole({**n_keep, group: int(count)}) - 7.0 for count in counts])


def random_chain(seed, n_groups=20, n_widths=12, kind="smooth"):
    """Candidates and costs: bilinear in the widths, in blocks, or with bumps that make some narrow widths dear."""
    generator = np.random.default_rng(seed)
    candidates, tables = {}, []
    for number in range(n_groups):
        scores = np.sort(generator.exponential(size=n_widths) * generator.lognormal(0, 1))[::-1]
        candidates[f"g{number}"] = Candidates(np.arange(1, n_widths + 1) * 8, scores.cumsum())
    for _ in range(n_groups - 1):
        block = generator.choice([2, 3, 4]) if kind == "staircase" else 1
        x = np.ceil(np.arange(1, n_widths + 1) / block) * block / n_widths
        table = generator.lognormal(0, 0.7) * (np.outer(x, x) + 0.15 * x[:, None] + 0.15 * x[None] + 0.1)
        if kind == "bumpy":
            table = table * np.exp(generator.normal(0, 0.1, size=table.shape))
        tables.append(table)
    return candidates, Chain({name: each.counts for name, each in candidates.items()}, tables)


def most_value(candidates, chain, limit, n_units=2500):
    """By dynamic programming over the chain, exact for costs rounded up to 1/`n_units` of the limit: reachable."""
    values = [each.values for each in candidates.values()]
    best = np.full((len(values[0]), n_units + 1), -np.inf)  # width of the last group, units spent
    best[:, :] = values[0][:, None]
    for table, gained in zip(chain.tables, values[1:], strict=True):
        units = np.ceil(table / (limit / n_units)).astype(int)
        after = np.full((len(gained), n_units + 1), -np.inf)
        for here, there in np.ndindex(*table.shape):
            spent = units[here, there]
            if spent <= n_units:
                after[there, spent:] = np.maximum(after[there, spent:], best[here, : n_units + 1 - spent])
        best = after + gained[:, None]
    return float(best.max())

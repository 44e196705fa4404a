"""What is counted and measured: plain lists on the event loop, summed up and written as Prometheus text when asked for.

Adding to a list costs a third of what the fastest metrics library takes (docs/decisions/0003-telemetry-cost.md), and the
same lists are what goes to other workers and to OTLP.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Final

from prometheus_client import ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from loom_grpc.telemetry.names import METRICS, OTHER, UNKNOWN, Metric, prometheus_label, prometheus_name

Labels = tuple[str, ...]
"""The values of a metric's attributes, in its order; an empty one is an absent attribute."""
Cells = list[float]
"""A histogram's count for each bucket and its sum; of other metrics the value alone."""
State = dict[str, dict[Labels, Cells]]
"""Everything measured so far, by the metric's name."""

MOST_MODELS: Final = 100
"""How many models of one provider are told apart."""
_LONGEST_MODEL: Final = 128


class Metrics:
    """The measurements of this process. Belongs to the event loop's thread."""

    def __init__(self) -> None:
        self._series: dict[Metric, dict[Labels, Cells]] = {metric: {} for metric in METRICS}

    def cells(self, metric: Metric, labels: Labels) -> Cells:
        """Returns the cells of a series, for who adds to them more than once."""
        series = self._series[metric]
        cells = series.get(labels)
        if cells is None:
            cells = series[labels] = [0] * (len(metric.bounds) + 2) if metric.bounds else [0]
        return cells

    def observe(self, metric: Metric, labels: Labels, value: float) -> None:
        """Adds a value to a histogram."""
        observe(self.cells(metric, labels), metric.bounds, value)

    def add(self, metric: Metric, labels: Labels, amount: float = 1) -> None:
        """Adds to a counter or a gauge."""
        self.cells(metric, labels)[0] += amount

    def state(self) -> State:
        """Returns a copy of everything measured so far."""
        return {
            metric.name: {labels: list(cells) for labels, cells in series.items()}
            for metric, series in self._series.items()
            if series
        }


def observe(cells: Cells, bounds: tuple[float, ...], value: float) -> None:
    """Adds a value to the cells of a histogram."""
    cells[bisect_left(bounds, value)] += 1
    cells[-1] += value


class Models:
    """Decides which model names may be labels: they come from callers, who must not be able to make up new series at will."""

    def __init__(self, configured: Mapping[str, Iterable[str]]) -> None:
        self._known = {provider: set(models) for provider, models in configured.items()}

    def label(self, provider: str, model: str, *, accepted: bool) -> str:
        """Returns the model's label: itself once its provider has accepted a call for it, and while there are not too many."""
        known = self._known.setdefault(provider, set())
        if model in known:
            return model
        if not accepted:
            return UNKNOWN
        if len(known) >= MOST_MODELS or len(model) > _LONGEST_MODEL:
            return OTHER
        known.add(model)
        return model


def merge(states: Iterable[State]) -> State:
    """Adds up what several processes measured."""
    total: State = {}
    for state in states:
        for name, series in state.items():
            sums = total.setdefault(name, {})
            for labels, cells in series.items():
                before = sums.get(labels)
                sums[labels] = list(cells) if before is None else [a + b for a, b in zip(before, cells, strict=True)]
    return total


def prometheus_text(state: State, target: Mapping[str, str], *, process: bool) -> bytes:
    """Writes the state in Prometheus' text format 0.0.4.

    `target` is what is served, such as its name and version; `process` adds memory, time and files of this process.
    """
    families = [InfoMetricFamily("target", "What is measured.", dict(target)), *_families(state)]
    if process:
        families.extend(ProcessCollector(registry=None).collect())
    return generate_latest(_Page(families))


class _Page(Collector):
    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Family]:
        return self._families


def _families(state: State) -> Iterator[Family]:
    for metric in METRICS:
        series = state.get(metric.name)
        if series:
            yield _family(metric, series)


def _family(metric: Metric, series: Mapping[Labels, Cells]) -> Family:
    name, names = prometheus_name(metric), [prometheus_label(attribute) for attribute in metric.attributes]
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(name, metric.description, labels=names)
        ends = [*map(floatToGoString, metric.bounds), "+Inf"]
        for labels, cells in series.items():
            buckets = list(zip(ends, accumulate(cells[:-1]), strict=True))
            histogram.add_metric(labels, buckets=buckets, sum_value=cells[-1])
        return histogram
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(name, metric.description, labels=names)
    for labels, cells in series.items():
        family.add_metric(labels, cells[0])
    return family

"""What is counted and measured: plain lists on the event loop, summed up and written as Prometheus text when asked for.

Adding to a list costs a third of what the fastest metrics library takes (docs/decisions/0003-telemetry-cost.md), and the
same lists are what goes to other workers and to OTLP.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from operator import add
from typing import Final

from prometheus_client import ProcessCollector, generate_latest

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
_GREATEST: Final = frozenset(metric.name for metric in METRICS if not metric.is_summed)


class Metrics:
    """The measurements of this process. Belongs to the event loop's thread."""

    def __init__(self) -> None:
        self._series: dict[Metric, dict[Labels, Cells]] = {metric: {} for metric in METRICS}
        self._watched: list[tuple[Metric, Labels, Callable[[], float]]] = []

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

    def put(self, metric: Metric, labels: Labels, value: float) -> None:
        """Sets a gauge."""
        self.cells(metric, labels)[0] = value

    def watch(self, metric: Metric, labels: Labels, read: Callable[[], float]) -> None:
        """Has a gauge read whenever somebody wants to know."""
        self._watched.append((metric, labels, read))

    def state(self) -> State:
        """Returns a copy of everything measured so far."""
        for metric, labels, read in self._watched:
            self.put(metric, labels, read())
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

    def know(self, provider: str, models: Iterable[str]) -> None:
        """Lets models be labels that a provider is configured with."""
        self._known.setdefault(provider, set()).update(models)

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
            sums, join = total.setdefault(name, {}), max if name in _GREATEST else add
            for labels, cells in series.items():
                before = sums.get(labels)
                sums[labels] = list(cells) if before is None else list(map(join, before, cells))
    return total


def prometheus_text(state: State, target: Mapping[str, str], *, process: bool) -> bytes:
    """Writes the state in Prometheus' text format 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats, seen 2026-11-21).

    `target` is what is measured, such as a service's name and version; `process` adds memory, time and files of this process.
    A library takes twenty times as long, in which no call would go on.
    """
    lines = _family("target_info", "gauge", "What is measured.")
    lines.append(f"target_info{{{_labels(target.items())}}} 1")
    for metric in METRICS:
        if series := state.get(metric.name):
            lines += _lines(metric, series)
    return "\n".join([*lines, ""]).encode() + (generate_latest(ProcessCollector(registry=None)) if process else b"")


def _lines(metric: Metric, series: Mapping[Labels, Cells]) -> Iterator[str]:
    name = prometheus_name(metric)
    names = [prometheus_label(attribute) for attribute in metric.attributes]
    ends = [*map(str, metric.bounds), "+Inf"]
    yield from _family(name, metric.kind, metric.description)
    for values, cells in series.items():
        labels = _labels(zip(names, values, strict=True))
        if metric.kind != "histogram":
            yield f"{name}{{{labels}}} {cells[0]}"
            continue
        for end, count in zip(ends, accumulate(cells[:-1]), strict=True):
            yield f'{name}_bucket{{{labels},le="{end}"}} {count}'
        yield f"{name}_sum{{{labels}}} {cells[-1]}"
        yield f"{name}_count{{{labels}}} {sum(cells[:-1])}"


def _family(name: str, kind: str, description: str) -> list[str]:
    return [f"# HELP {name} {description}", f"# TYPE {name} {kind}"]


def _labels(pairs: Iterable[tuple[str, str]]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs if value)


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

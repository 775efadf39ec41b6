"""The page of all metrics, found where the sources make them: a name, a help text and labels, all of them literals."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from docs.reference import sources
from docs.reference.markdown import table

KINDS = {
    "Counter": "counter",
    "CounterMetricFamily": "counter",
    "Gauge": "gauge",
    "GaugeMetricFamily": "gauge",
    "Histogram": "histogram",
    "HistogramMetricFamily": "histogram",
    "Summary": "summary",
}
PREFIX = "voiceagent_"

INTRODUCTION = """\
# Metrics

What `/metrics` shows, in Prometheus' text format, generated from the sources. A counter's name ends with `_total`; a
histogram has the series `_bucket`, `_sum` and `_count`. No label tells of users, sessions or words. Rules for alerts
come with the
[operator's guide](../guides/operator/index.md#metrics-and-alerts).

"""


@dataclass(frozen=True, slots=True)
class Series:
    """One metric as its source has it."""

    name: str
    kind: str
    meaning: str
    labels: tuple[str, ...]


def page() -> str:
    """The whole page: a section a module that makes metrics."""
    parts = [INTRODUCTION]
    for path in sorted(sources.PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        if found := list(series(tree)):
            about = (ast.get_docstring(tree) or path.stem).split("\n\n")[0].replace("\n", " ")
            rows = ((f"`{one.name}`", one.kind, ", ".join(one.labels), one.meaning) for one in found)
            module = ".".join((sources.PACKAGE / path).relative_to(sources.PACKAGE.parent).with_suffix("").parts)
            parts.append(f"## `{module}`\n\n{about}\n\n{table(('metric', 'kind', 'labels', 'meaning'), rows)}\n")
    return "".join(parts)


def all_series(folder: Path) -> Iterator[Series]:
    """Every metric of the sources in a folder."""
    for path in sorted(folder.rglob("*.py")):
        yield from series(ast.parse(path.read_text("utf-8")))


def series(tree: ast.Module) -> Iterator[Series]:
    """The metrics that a module makes. Raises ValueError for one whose name or help text is no literal."""
    named = {
        target.id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("prometheus_client")
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS.keys() & imported:
            match node.args:
                case [ast.Constant(str(name)), ast.Constant(str(meaning)), *rest]:
                    kind = KINDS[node.func.id]
                    labels = rest[0] if rest else _keyword(node, "labels", "labelnames")
                    if isinstance(labels, ast.Name):
                        labels = named.get(labels.id)
                    yield Series(_exposed(name, kind), kind, meaning, _literals(labels))
                case _:
                    raise ValueError(f"line {node.lineno}: a metric's name and help text are to be literals")


def _keyword(call: ast.Call, *names: str) -> ast.expr | None:
    return next((keyword.value for keyword in call.keywords if keyword.arg in names), None)


def _literals(node: ast.expr | None) -> tuple[str, ...]:
    elements = node.elts if isinstance(node, ast.List | ast.Tuple) else []
    return tuple(str(element.value) for element in elements if isinstance(element, ast.Constant))


def _exposed(name: str, kind: str) -> str:
    """The name as Prometheus sees it."""
    return f"{name.removesuffix('_total')}_total" if kind == "counter" else name

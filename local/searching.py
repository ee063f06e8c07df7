"""SEARCH expressions of CloudWatch, as dashboards have them: what one finds, and the queries that it stands for.

The grammar is that of docs.aws.amazon.com, AmazonCloudWatch/latest/monitoring/search-expression-syntax.html, without
AND, OR, NOT and brackets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Query = dict[str, Any]
Metric = tuple[str, str, Mapping[str, str]]  # namespace, name, dimensions

_SEARCH = re.compile(r"SEARCH\(\s*'\{([^}]*)\}([^']*)'\s*,\s*'(\w+)'\s*(?:,\s*(\d+)\s*)?\)")
_TERM = re.compile(r'(?:(\w+)\s*=\s*)?(?:"([^"]*)"|(\S+))')
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")


def expanded(queries: Iterable[Query], metrics: Iterable[Metric]) -> Iterator[Query]:
    """The queries, each SEARCH among them replaced by one for every metric that it finds, with the same Id."""
    known = list(metrics)
    for query in queries:
        asked = _SEARCH.fullmatch(str(query.get("Expression", "")).strip())
        if not asked:
            yield query
            continue
        schema, terms, statistic, period = asked.groups()
        for namespace, name, dimensions in known:
            if finds(schema, terms, (namespace, name, dimensions)):
                yield {
                    **{key: query[key] for key in ("Id", "ReturnData") if key in query},
                    "Label": name,
                    "MetricStat": {
                        "Metric": {
                            "Namespace": namespace,
                            "MetricName": name,
                            "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
                        },
                        "Period": int(period or query.get("Period", 300)),
                        "Stat": statistic,
                    },
                }


def finds(schema: str, terms: str, metric: Metric) -> bool:
    """Whether the metric has exactly these dimensions, and every term in its names or values, word by word.

    >>> drift = ("DriftRetrain", "feature_baseline_drift_age", {"Endpoint": "flights"})
    >>> [finds("DriftRetrain,Endpoint", text, drift) for text in ('Endpoint="flights" baseline_drift', "aseline", "")]
    [True, False, True]
    >>> finds("DriftRetrain", "", drift)
    False
    """
    namespace, name, dimensions = metric
    wanted, *names = [part.strip().strip('"') for part in schema.split(",")]
    if namespace != wanted or set(names) != set(dimensions):
        return False
    texts = {"Namespace": namespace, "MetricName": name, **dimensions}
    for key, exact, words in _TERM.findall(terms):
        if key and texts.get(key) != (exact or words):
            return False
        said = [*texts, *texts.values()]
        if not key and not any(f" {_in_words(exact or words)} " in f" {_in_words(text)} " for text in said):
            return False
    return True


def _in_words(text: str) -> str:
    return " ".join(_WORDS.findall(text)).lower()

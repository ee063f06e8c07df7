"""Search: resources by what their fields say."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from local.sagemaker.store import Resource, Store, shown
from local.wire import ApiError, model

# The resource type of a request, and where resources of that kind are.
KINDS = {
    "Endpoint": "endpoints",
    "ModelPackage": "packages",
    "ModelPackageGroup": "groups",
    "Pipeline": "pipelines",
    "PipelineExecution": "executions",
    "TrainingJob": "training_jobs",
}
_TESTS: dict[str, Callable[[Any, str], bool]] = {
    "Equals": lambda found, value: found is not None and _text(found) == value,
    "NotEquals": lambda found, value: found is None or _text(found) != value,
    "Contains": lambda found, value: found is not None and value in _text(found),
    "In": lambda found, value: found is not None and _text(found) in value.split(","),
    "Exists": lambda found, _: found is not None,
    "NotExists": lambda found, _: found is None,
    "GreaterThan": lambda found, value: found is not None and _number(found) > _number(value),
    "GreaterThanOrEqualTo": lambda found, value: found is not None and _number(found) >= _number(value),
    "LessThan": lambda found, value: found is not None and _number(found) < _number(value),
    "LessThanOrEqualTo": lambda found, value: found is not None and _number(found) <= _number(value),
}


class Search:
    """The operation; of the resource types it knows those in KINDS."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def search(self, params: Resource) -> Resource:
        """Search."""
        kind = params["Resource"]
        if kind not in KINDS:
            known = ", ".join(KINDS)
            raise ApiError("ValidationException", f"the embedded SageMaker searches {known}, and no {kind}")
        fields = list(model("sagemaker").shape_for(kind).members)  # type: ignore[attr-defined]
        fields = [name for name in fields if name != "ModelPackageName"]  # a versioned package has none
        each = [{**shown(item), **self._tags(item)} for item in self.store.each(KINDS[kind])]
        found = [item for item in each if _holds(item, params.get("SearchExpression", {}))]
        by = params.get("SortBy", "LastModifiedTime")
        found.sort(key=lambda item: _text(_of(item, by)), reverse=params.get("SortOrder", "Descending") == "Descending")
        start, size = int(params.get("NextToken") or 0), int(params.get("MaxResults") or 100)
        rest = {"NextToken": str(start + size)} if start + size < len(found) else {}
        chosen = found[start : start + size]
        return {
            "Results": [{kind: {name: item[name] for name in fields if name in item}} for item in chosen],
            **rest,
        }

    def _tags(self, item: Resource) -> Resource:
        arn = next((str(value) for name, value in item.items() if name.endswith("Arn")), "")
        return dict(self.store.kinds["tags"].get(arn, {}))


def _holds(item: Resource, expression: Resource) -> bool:
    tests = [
        _TESTS[each.get("Operator", "Equals")](_of(item, each["Name"]), each.get("Value", ""))
        for each in expression.get("Filters", [])
    ]
    tests += [_holds(item, each) for each in expression.get("SubExpressions", [])]
    return (any if expression.get("Operator") == "Or" else all)(tests) if tests else True


def _of(item: Any, path: str) -> Any:
    """The value at `CustomerMetadataProperties.episode_id`, or of the tag at `Tags.name`; None if there is none."""
    first, _, rest = path.partition(".")
    if first == "Tags":
        return next((tag["Value"] for tag in item.get("Tags", []) if tag["Key"] == rest), None)
    found = item.get(first) if isinstance(item, dict) else None
    return _of(found, rest) if rest and found is not None else found


def _text(found: Any) -> str:
    return found.isoformat() if isinstance(found, datetime) else str(found)


def _number(found: Any) -> float:
    """Numbers, and times as seconds since 1970."""
    if isinstance(found, datetime):
        return found.timestamp()
    try:
        return float(found)
    except ValueError:
        return datetime.fromisoformat(str(found)).timestamp()

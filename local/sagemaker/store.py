"""What SageMaker knows: every resource as the fields that Describe answers with, and the ways to save and find them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from local.keeping import write_text
from local.wire import ApiError

Resource = dict[str, Any]
TIMES = {"CreationTime": ("CreationTime", "Created"), "LastModifiedTime": ("LastModifiedTime",)}
KINDS = (
    "processing_jobs",
    "training_jobs",
    "pipelines",
    "executions",
    "groups",
    "packages",
    "models",
    "configs",
    "endpoints",
    "schedules",
    "definitions",
    "tags",
    "tokens",
)


class Now(Protocol):
    """Whatever tells the time."""

    def now(self) -> datetime: ...


@dataclass(frozen=True)
class Access:
    """How SageMaker acts under a role that it was given, on the rest of the embedded AWS.

    `client(service, role)` is a boto3 client with the role's credentials, `environment(role)` has them for a process;
    `require(role, operation, params)` raises ApiError where the role may not call that operation of SageMaker.
    """

    client: Callable[[str, str], Any]
    environment: Callable[[str], Mapping[str, str]]
    require: Callable[[str, str, Resource], None]


@dataclass
class Store:
    """All resources by kind and name, the account they belong to, and the ways to the rest of the embedded AWS."""

    access: Access
    put_event: Callable[[str, str, dict[str, Any], list[str]], None]
    clock: Now
    root: Path
    account: str
    region: str
    lock: threading.RLock = field(default_factory=threading.RLock)
    kinds: dict[str, dict[str, Resource]] = field(default_factory=lambda: {kind: {} for kind in KINDS})

    def aws(self, service: str, role: str) -> Any:
        """A client of the service that acts under the role."""
        return self.access.client(service, role)

    def arn(self, resource: str) -> str:
        """The ARN of a SageMaker resource, say `endpoint/e`."""
        return f"arn:aws:sagemaker:{self.region}:{self.account}:{resource}"

    def each(self, kind: str) -> list[Resource]:
        """All resources of a kind, as they are now; other threads may go on adding some."""
        with self.lock:
            return list(self.kinds[kind].values())

    def find(self, kind: str, name: str, missing: ApiError) -> Resource:
        """The resource of that name; raises `missing`."""
        with self.lock:
            found = self.kinds[kind].get(name)
        if found is None:
            raise missing
        return found

    def add(self, kind: str, name: str, resource: Resource, what: str) -> Resource:
        """The resource exists; ApiError if one of that name already does."""
        with self.lock:
            if name in self.kinds[kind]:
                raise ApiError("ValidationException", f'Cannot create already existing {what} "{self.arn(name)}".')
            self.kinds[kind][name] = resource
        return resource

    def save(self, path: Path) -> None:
        """Every resource lies in `path`, for `load`."""
        with self.lock:
            text = json.dumps(self.kinds, default=_encode)
        write_text(path, text)

    def load(self, path: Path) -> None:
        """The resources are those of `path`; none if there is no such file."""
        if path.exists():
            self.kinds.update(json.loads(path.read_text(), object_hook=_decode))


def could_not_find(what: str, arn: str) -> ApiError:
    """SageMaker's words for a resource that it does not have."""
    return ApiError("ValidationException", f'Could not find {what} "{arn}".')


def shown(resource: Resource) -> Resource:
    """The fields that Describe answers with: those without a leading underscore."""
    return {name: value for name, value in dict(resource).items() if not name.startswith("_") and value is not None}


def page(
    items: Iterable[Resource], params: Resource, what: str, key: str = "CreationTime", order: str = "Descending"
) -> tuple[list[Resource], Resource]:
    """One page of those that the request asks for, in the order that it asks for, and NextToken if there is more.

    `what` is what the fields' names begin with, say Model; `key` and `order` are the operation's own. Items come in the
    order they were made: of those of one instant, too, the newest is first or last.
    """
    fields = {"Name": f"{what}Name", "Status": f"{what}Status"}
    by: str = params.get("SortBy", key)
    found = [item for item in items if _is_asked_for(item, params, fields)]
    ordered = sorted(found, key=lambda item: item[fields.get(by, by)])
    if params.get("SortOrder", order) == "Descending":
        ordered.reverse()
    start = int(params.get("NextToken") or 0)
    size = int(params.get("MaxResults") or 100)
    rest = {"NextToken": str(start + size)} if start + size < len(ordered) else {}
    return ordered[start : start + size], rest


def _is_asked_for(item: Resource, params: Resource, fields: dict[str, str]) -> bool:
    name, status = item.get(fields["Name"], ""), item.get(fields["Status"])
    if params.get("NameContains", "") not in name or not name.startswith(params.get("PipelineNamePrefix", "")):
        return False
    if params.get("StatusEquals", status) != status:
        return False
    for moment, words in TIMES.items():
        for word in words:
            if f"{word}After" in params and _seconds(item[moment]) <= _seconds(params[f"{word}After"]):
                return False
            if f"{word}Before" in params and _seconds(item[moment]) >= _seconds(params[f"{word}Before"]):
                return False
    return True


def _seconds(moment: datetime | float) -> float:
    """Seconds since the epoch, as times come over the wire."""
    return moment.timestamp() if isinstance(moment, datetime) else float(moment)


def pick(resource: Resource, *names: str) -> Resource:
    """The named fields, those that are there."""
    return {name: resource[name] for name in names if resource.get(name) is not None}


def _encode(value: Any) -> Any:
    if isinstance(value, datetime):
        return {"$time": value.isoformat()}
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} can't be saved")


def _decode(value: dict[str, Any]) -> Any:
    return datetime.fromisoformat(value["$time"]).astimezone(UTC) if set(value) == {"$time"} else value

"""A SageMaker that executes: jobs and endpoints are processes, pipelines are interpreted, captures are written."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from local import ACCOUNT, REGION
from local.clock import Clock
from local.sagemaker.hosting import Hosting
from local.sagemaker.jobs import Jobs
from local.sagemaker.models import Models
from local.sagemaker.monitoring import Monitoring
from local.sagemaker.pipelines import Pipelines
from local.sagemaker.registry import Registry
from local.sagemaker.search import Search
from local.sagemaker.store import Access, Resource, Store
from local.wire import ApiError, model


class SageMaker:
    """The service: operations by their API names, and InvokeEndpoint."""

    def __init__(
        self,
        access: Access,
        put_event: Callable[[str, str, dict[str, Any], list[str]], None],
        clock: Clock,
        root: Path,
        wait_scale: float | None = None,
    ) -> None:
        if wait_scale is None:  # as the state machines wait
            wait_scale = float(os.environ.get("SFN_WAIT_SCALE", "1"))
        self.store = Store(access, put_event, clock, root, ACCOUNT, REGION)
        self.jobs = Jobs(self.store)
        self.registry = Registry(self.store)
        self.models = Models(self.store, self.registry)
        self.pipelines = Pipelines(self.store, self.jobs, self.registry, self.models)
        self.monitoring = Monitoring(self.store)
        self.searching = Search(self.store)
        self.hosting = Hosting(self.store, self.models, wait_scale)
        # What was captured before the clock is set belongs to the time before.
        clock.on_set(self.hosting.capture.flush)

    @property
    def parts(self) -> tuple[object, ...]:
        """The parts that have operations, each a method."""
        return (
            self.jobs,
            self.registry,
            self.pipelines,
            self.models,
            self.hosting,
            self.monitoring,
            self.searching,
            self,
        )

    def handle(self, operation: str, params: Resource) -> Resource:
        """The operation's answer; ApiError for what SageMaker refuses, and for what this one does not do."""
        name = snake(operation)
        for part in self.parts:
            if method := getattr(part, name, None):
                answer: Resource = method(params)
                return answer
        raise ApiError("UnknownOperationException", f"the embedded SageMaker does not do {operation}", 501)

    def invoke_endpoint(self, name: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and content of InvokeEndpoint; header names are lower case."""
        return self.hosting.invoke(name, body, headers)

    def add_tags(self, params: Resource) -> Resource:
        """AddTags."""
        kept = {tag["Key"]: tag for tag in self._tags(params["ResourceArn"]) + params["Tags"]}
        self.store.kinds["tags"][params["ResourceArn"]] = {"Tags": list(kept.values())}
        return {"Tags": list(kept.values())}

    def list_tags(self, params: Resource) -> Resource:
        """ListTags."""
        return {"Tags": self._tags(params["ResourceArn"])}

    def delete_tags(self, params: Resource) -> Resource:
        """DeleteTags."""
        kept = [tag for tag in self._tags(params["ResourceArn"]) if tag["Key"] not in params["TagKeys"]]
        self.store.kinds["tags"][params["ResourceArn"]] = {"Tags": kept}
        return {}

    def _tags(self, arn: str) -> list[Resource]:
        return list(self.store.kinds["tags"].get(arn, {}).get("Tags", []))

    def save(self, path: Path) -> None:
        """The state lies in `path`."""
        self.store.save(path)

    def load(self, path: Path) -> None:
        """The state is that of `path`, its endpoints serve, and what was running then is known to have failed."""
        for folder in ("jobs", "fleets"):  # what a process that was killed left
            shutil.rmtree(self.store.root / folder, ignore_errors=True)
        self.store.load(path)
        self.jobs.resume()
        self.pipelines.resume()
        self.hosting.resume()

    def shutdown(self) -> None:
        """No process of a job or an endpoint is left."""
        self.jobs.stop_all()
        self.hosting.close()


def operations() -> list[str]:
    """The operations that this SageMaker does."""
    parts = (Jobs, Registry, Pipelines, Models, Hosting, Monitoring, Search, SageMaker)
    methods = {name for part in parts for name in vars(part) if not name.startswith("_")}
    return [name for name in model("sagemaker").operation_names if snake(name) in methods]


def snake(operation: str) -> str:
    """The name of the method that does the operation."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()

"""X-Ray: what the SDK sends by UDP is kept, and can be read back with the X-Ray API."""

from __future__ import annotations

import json
import secrets
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local.keeping import write_text
from local.wire import ApiError

Segment = dict[str, Any]
PAGE = 100  # trace summaries in one answer


class XRay:
    """The daemon and the service in one. `port` is the UDP port that segments are sent to."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._traces: dict[str, dict[str, Segment]] = {}
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._listen, name="xray", daemon=True).start()

    def open_segment(self, name: str, origin: str, header: str | None) -> str:
        """A service (Lambda, Step Functions) works for `header`'s trace, or for a new one; the header to hand on."""
        fields = dict(part.split("=", 1) for part in (header or "").split(";") if "=" in part)
        trace = fields.get("Root") or f"1-{int(self._now()):08x}-{secrets.token_hex(12)}"
        segment: Segment = {
            "id": secrets.token_hex(8),
            "trace_id": trace,
            "name": name,
            "origin": origin,
            "start_time": self._now(),
        }
        if parent := fields.get("Parent"):
            segment["parent_id"] = parent
        self.keep(segment)
        return f"Root={trace};Parent={segment['id']};Sampled=1"

    def close_segment(self, header: str, *, fault: bool) -> None:
        """The work that `open_segment` returned `header` for is over."""
        fields = dict(part.split("=", 1) for part in header.split(";"))
        with self._lock:
            segment = self._traces[fields["Root"]][fields["Parent"]]
            segment["end_time"] = self._now()
            if fault:
                segment["fault"] = True

    def keep(self, segment: Segment) -> None:
        """The segment, or the newer state of one, can be read back."""
        with self._lock:
            self._traces.setdefault(str(segment["trace_id"]), {})[str(segment["id"])] = segment

    def handle(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        """The answer of one X-Ray API operation."""
        operations = {
            "GetTraceSummaries": self._summaries,
            "BatchGetTraces": self._batch,
            "PutTraceSegments": self._put,
            "GetServiceGraph": self._graph,
        }
        if operation not in operations:
            raise ApiError("UnknownOperationException", f"the embedded X-Ray does not do {operation}", 501)
        return operations[operation](params)

    def _listen(self) -> None:
        while True:
            datagram = self._socket.recv(65_535)
            _, _, document = datagram.partition(b"\n")
            try:
                segment = json.loads(document)
                self.keep(segment)
            except (ValueError, KeyError, TypeError):
                continue  # X-Ray's daemon drops what it can't read, too

    def _segments(self, trace: str) -> list[Segment]:
        """The trace's segments by start; what the SDK sent apart is inside its parent, and nothing ends before that."""
        with self._lock:
            found = {key: dict(segment) for key, segment in self._traces.get(trace, {}).items()}
        for segment in found.values():
            segment["subsegments"] = list(segment.get("subsegments") or [])
        roots = []
        for segment in found.values():
            parent = found.get(str(segment.get("parent_id")))
            if segment.get("type") == "subsegment" and parent is not None:
                parent["subsegments"].append(segment)
            else:
                roots.append(segment)
        children: dict[str, list[Segment]] = {}
        for segment in found.values():
            children.setdefault(str(segment.get("parent_id")), []).append(segment)

        def end(segment: Segment) -> float:
            inside = [end(child) for child in children.get(str(segment["id"]), [])]
            return max([float(segment["end_time"] if "end_time" in segment else segment["start_time"]), *inside])

        for segment in found.values():
            if "end_time" not in segment:
                segment["end_time"] = end(segment)
            segment.pop("in_progress", None)
        return sorted(roots, key=lambda segment: float(segment["start_time"]))

    def _summary(self, trace: str) -> dict[str, Any]:
        segments = self._segments(trace)
        start = min(float(segment["start_time"]) for segment in segments)
        duration = max(float(segment["end_time"]) for segment in segments) - start
        annotations: dict[str, list[dict[str, Any]]] = {}
        for segment in segments:
            for key, value in _annotations(segment):
                entry = {"AnnotationValue": {"StringValue": str(value)}}
                if entry not in annotations.setdefault(key, []):
                    annotations[key].append(entry)
        return {
            "Id": trace,
            "StartTime": datetime.fromtimestamp(start, UTC),
            "Duration": round(duration, 3),
            "ResponseTime": round(duration, 3),
            "HasFault": any(segment.get("fault", False) for segment in segments),
            "HasError": any(segment.get("error", False) for segment in segments),
            "HasThrottle": False,
            "IsPartial": False,
            "Annotations": annotations,
        }

    def _summaries(self, params: dict[str, Any]) -> dict[str, Any]:
        start, end = _seconds(params["StartTime"]), _seconds(params["EndTime"])
        with self._lock:
            traces = list(self._traces)
        summaries = [self._summary(trace) for trace in traces]
        inside = [item for item in summaries if start <= item["StartTime"].timestamp() <= end]
        inside.sort(key=lambda item: str(item["StartTime"]), reverse=True)
        first = int(params.get("NextToken") or 0)
        more = {"NextToken": str(first + PAGE)} if len(inside) > first + PAGE else {}
        return {
            "TraceSummaries": inside[first : first + PAGE],
            "ApproximateTime": datetime.fromtimestamp(self._now(), UTC),
            "TracesProcessedCount": len(inside),
            **more,
        }

    def _batch(self, params: dict[str, Any]) -> dict[str, Any]:
        traces, unknown = [], []
        for trace in params["TraceIds"]:
            segments = self._segments(trace)
            if not segments:
                unknown.append(trace)
                continue
            documents = [{"Id": segment["id"], "Document": json.dumps(segment)} for segment in segments]
            duration = self._summary(trace)["Duration"]
            traces.append({"Id": trace, "Duration": duration, "LimitExceeded": False, "Segments": documents})
        return {"Traces": traces, "UnprocessedTraceIds": unknown}

    def _graph(self, params: dict[str, Any]) -> dict[str, Any]:
        """Who called whom between the two times: a service for each segment's name."""
        start, end = _seconds(params["StartTime"]), _seconds(params["EndTime"])
        with self._lock:
            traces = list(self._traces)
        services: dict[str, dict[str, Any]] = {}
        for segments in map(self._segments, traces):
            inside = {}  # every segment and subsegment, and the segment's service
            for segment in segments:
                if not start <= float(segment["start_time"]) <= end:
                    continue
                name = str(segment["name"])
                node = services.setdefault(name, _node(len(services), name, str(segment.get("origin", "remote"))))
                _count(node, segment)
                inside.update(dict.fromkeys(_ids(segment), node))
            for segment in segments:
                caller, callee = inside.get(str(segment.get("parent_id"))), inside.get(str(segment["id"]))
                if callee is None:
                    continue
                if caller is None:
                    callee["Root"] = True
                elif caller is not callee:
                    edges = {edge["ReferenceId"]: edge for edge in caller["Edges"]}
                    if callee["ReferenceId"] not in edges:
                        caller["Edges"].append(edge := {"ReferenceId": callee["ReferenceId"], "Aliases": []})
                        edges[callee["ReferenceId"]] = edge
                    _count(edges[callee["ReferenceId"]], segment)
        return {
            "StartTime": params["StartTime"],
            "EndTime": params["EndTime"],
            "Services": list(services.values()),
            "ContainsOldGroupVersions": False,
        }

    def _put(self, params: dict[str, Any]) -> dict[str, Any]:
        unprocessed = []
        for document in params["TraceSegmentDocuments"]:
            try:
                self.keep(json.loads(document))
            except (ValueError, KeyError, TypeError) as error:
                unprocessed.append({"ErrorCode": "ParseError", "Message": str(error)})
        return {"UnprocessedTraceSegments": unprocessed}

    def save(self, path: Path) -> None:
        """Every trace lies in `path`, for `load`."""
        with self._lock:
            write_text(path, json.dumps(self._traces))

    def load(self, path: Path) -> None:
        """The traces of `path` can be read again; none if there is no such file."""
        if path.exists():
            self._traces.update(json.loads(path.read_text()))


def _node(number: int, name: str, kind: str) -> dict[str, Any]:
    return {"ReferenceId": number, "Name": name, "Names": [name], "Type": kind, "State": "active", "Edges": []}


def _ids(segment: Segment) -> list[str]:
    return [str(segment["id"]), *(each for child in segment.get("subsegments") or [] for each in _ids(child))]


def _count(part: dict[str, Any], segment: Segment) -> None:
    """The segment is one more request of this node or edge of the graph."""
    start, end = (datetime.fromtimestamp(float(segment[name]), UTC) for name in ("start_time", "end_time"))
    part["StartTime"], part["EndTime"] = min(part.get("StartTime", start), start), max(part.get("EndTime", end), end)
    said = part.setdefault(
        "SummaryStatistics",
        {
            "OkCount": 0,
            "ErrorStatistics": {"ThrottleCount": 0, "OtherCount": 0, "TotalCount": 0},
            "FaultStatistics": {"OtherCount": 0, "TotalCount": 0},
            "TotalCount": 0,
            "TotalResponseTime": 0.0,
        },
    )
    said["TotalCount"] += 1
    said["TotalResponseTime"] += (end - start).total_seconds()
    if segment.get("fault") or segment.get("error"):
        kind = "FaultStatistics" if segment.get("fault") else "ErrorStatistics"
        said[kind]["OtherCount"] += 1
        said[kind]["TotalCount"] += 1
    else:
        said["OkCount"] += 1


def _annotations(segment: Segment) -> list[tuple[str, Any]]:
    found = list((segment.get("annotations") or {}).items())
    for child in segment.get("subsegments") or []:
        found += _annotations(child)
    return found


def _seconds(value: Any) -> float:
    return value.timestamp() if isinstance(value, datetime) else float(value)

"""Data capture: what went in and out of an endpoint, as JSON lines in S3 under the hour of the AWS clock."""

from __future__ import annotations

import base64
import json
import random
import threading
import uuid
from datetime import datetime
from typing import Any

from local.sagemaker import s3 as files
from local.sagemaker.store import Store

FLUSH_SECONDS = 1.0
FLUSH_RECORDS = 2000


class Capture:
    """The writer of every endpoint's captures; records are in S3 a second later, or when the clock is set."""

    def __init__(self, store: Store) -> None:
        self.store = store
        # By folder and the role that writes it: when its first record came, and the lines.
        self._pending: dict[tuple[str, str], tuple[datetime, list[str]]] = {}
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._closed = False
        self._wake = threading.Event()
        self._writer = threading.Thread(target=self._keep_flushing, name="capture", daemon=True)
        self._writer.start()

    def record(
        self,
        config: dict[str, Any],
        place: tuple[str, str],
        asked: tuple[bytes, str],
        answered: tuple[bytes, str],
        inference_id: str | None = None,
        *,
        attributes: str | None = None,
    ) -> None:
        """The invocation will be in S3, if the config wants it. `place` is endpoint/variant, and its role."""
        if not config.get("EnableCapture") or random.random() * 100 >= config["InitialSamplingPercentage"]:  # noqa: S311
            return
        where, role = place
        now: datetime = self.store.clock.now()
        modes = {option["CaptureMode"] for option in config["CaptureOptions"]}
        kinds = config.get("CaptureContentTypeHeader", {})
        data: dict[str, Any] = {}
        if modes & {"Input", "InputAndOutput"}:
            data["endpointInput"] = _side(*asked, "INPUT", kinds)
        if modes & {"Output", "InputAndOutput"}:
            data["endpointOutput"] = _side(*answered, "OUTPUT", kinds)
        metadata: dict[str, Any] = {"eventId": str(uuid.uuid4()), "inferenceTime": f"{now:%Y-%m-%dT%H:%M:%SZ}"}
        if inference_id:
            metadata["inferenceId"] = inference_id
        if attributes:
            metadata["customAttributes"] = [attributes]
        line = json.dumps({"captureData": data, "eventMetadata": metadata, "eventVersion": "0"}, separators=(",", ":"))
        folder = f"{config['DestinationS3Uri'].rstrip('/')}/{where}/{now:%Y/%m/%d/%H}"
        with self._lock:
            _, lines = self._pending.setdefault((folder, role), (now, []))
            lines.append(line)
            if len(lines) >= FLUSH_RECORDS:
                self._wake.set()

    def flush(self) -> None:
        """Everything recorded so far is in S3, also what another thread was about to write; raises what S3 does."""
        with self._flushing:
            with self._lock:
                pending, self._pending = self._pending, {}
            try:
                while pending:
                    place = next(iter(pending))
                    self._write(*place, *pending[place])
                    del pending[place]
            finally:
                with self._lock:
                    for place, (began, lines) in pending.items():
                        _, later = self._pending.get(place, (began, []))
                        self._pending[place] = began, lines + later

    def _write(self, folder: str, role: str, began: datetime, lines: list[str]) -> None:
        bucket, key = files.split(folder)
        name = f"{began:%M-%S}-{began.microsecond // 1000:03}-{uuid.uuid4()}.jsonl"
        body = ("\n".join(lines) + "\n").encode()
        self.store.aws("s3", role).put_object(Bucket=bucket, Key=f"{key}/{name}", Body=body)

    def _keep_flushing(self) -> None:
        while not self._closed:
            self._wake.wait(FLUSH_SECONDS)
            self._wake.clear()
            try:
                self.flush()
            except Exception as error:  # noqa: BLE001 - the next second tries again
                print(f"captures could not be written yet: {error}", flush=True)

    def close(self) -> None:
        """Nothing is pending, nothing is written any more."""
        self._closed = True
        self._wake.set()
        self._writer.join()
        self.flush()


def _side(body: bytes, content_type: str, mode: str, kinds: dict[str, Any]) -> dict[str, str]:
    plain = content_type.partition(";")[0].strip()
    encoding = "BASE64"
    if plain in kinds.get("CsvContentTypes", []):
        encoding = "CSV"
    elif plain in kinds.get("JsonContentTypes", []):
        encoding = "JSON"
    data = base64.b64encode(body).decode() if encoding == "BASE64" else body.decode("utf-8", errors="replace")
    return {"observedContentType": content_type, "mode": mode, "data": data, "encoding": encoding}

"""A model server: runs inside its own process, in the model's folder, with the model's own inference.py.

`python server.py MODEL_DIR SOCKET` answers on a Unix socket once the model is loaded, and ends when its standard input
does, that is: with the process that started it. A request is a JSON header line (content type, accept, length) and the
body; so is the answer (status, content type, length). What the program leaves out is what SageMaker's XGBoost container
has by default.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import socketserver
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

TEXT = ("text/", "application/json")


class UnsupportedError(Exception):
    """A content type that the default functions do not know."""

    status_code = 415


class Program:
    """The functions of a script-mode program: model_fn, input_fn, predict_fn, output_fn, or transform_fn instead."""

    def __init__(self, name: str, folder: str) -> None:
        self._module = importlib.import_module(name)
        if not hasattr(self._module, "model_fn"):
            raise NotImplementedError(f"{name} needs a model_fn(model_dir): there is no default one")
        self._model = self._module.model_fn(folder)

    def answer(self, body: bytes, content_type: str, accept: str) -> tuple[str | bytes, str]:
        """The answer to a request and its content type; raises what the program raises."""
        asked = body.decode("utf-8") if content_type.startswith(TEXT) else body
        if transform := getattr(self._module, "transform_fn", None):
            answer = transform(self._model, asked, content_type, accept)
        else:
            rows = self._function("input_fn", default_input)(asked, content_type)
            predictions = self._function("predict_fn", default_predict)(rows, self._model)
            answer = self._function("output_fn", default_output)(predictions, accept)
        return answer if isinstance(answer, tuple) else (answer, accept)

    def _function(self, name: str, default: Callable[..., Any]) -> Callable[..., Any]:
        found: Callable[..., Any] = getattr(self._module, name, default)
        return found


def default_input(body: str | bytes, content_type: str) -> Any:
    """A DMatrix of CSV rows."""
    import numpy as np
    import xgboost as xgb

    if content_type.partition(";")[0].strip() != "text/csv":
        raise UnsupportedError(f"Content type {content_type} is not supported; text/csv is.")
    return xgb.DMatrix(np.loadtxt(str(body).splitlines(), delimiter=",", ndmin=2, dtype=np.float32))


def default_predict(rows: Any, model: Any) -> Any:
    """What the booster says of the rows."""
    return model.predict(rows, validate_features=False)


def default_output(predictions: Any, accept: str) -> tuple[str, str]:
    """The predictions as JSON, or as CSV with one of them on a line."""
    if accept.startswith("application/json"):
        return json.dumps(predictions.tolist()), "application/json"
    if not accept.startswith("text/csv"):
        raise UnsupportedError(f"Accept {accept} is not supported; text/csv and application/json are.")
    lines = predictions.reshape(len(predictions), -1).tolist()
    return "".join(",".join(map(str, line)) + "\n" for line in lines), "text/csv"


class Server(socketserver.ThreadingUnixStreamServer):
    """One thread per connection; the platform keeps a few connections open."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, path: str, program: Program) -> None:
        super().__init__(path, Handler)
        self.program = program


class Handler(socketserver.StreamRequestHandler):
    """Answers requests until the other side hangs up."""

    server: Server

    def handle(self) -> None:
        while line := self.rfile.readline():
            asked = json.loads(line)
            body = self.rfile.read(asked["length"])
            status, kind, content = self._answer(body, asked["content_type"], asked["accept"])
            said = json.dumps({"status": status, "content_type": kind, "length": len(content)})
            self.wfile.write(said.encode() + b"\n" + content)

    def _answer(self, body: bytes, content_type: str, accept: str) -> tuple[int, str, bytes]:
        try:
            content, kind = self.server.program.answer(body, content_type, accept)
            return 200, kind, content.encode() if isinstance(content, str) else bytes(content)
        except Exception as error:  # noqa: BLE001 - whatever the model's code raises is the model's answer
            status = int(getattr(error, "status_code", 500))
            if status >= 500:
                traceback.print_exc()
            return status, "text/plain", str(getattr(error, "message", error)).encode()


def main() -> None:
    """The model is loaded, and the socket answers until the process is ended."""
    folder, path = Path(sys.argv[1]), sys.argv[2]
    threading.Thread(target=_end_with_parent, args=(path,), daemon=True).start()
    sys.path.insert(0, os.environ.get("SAGEMAKER_SUBMIT_DIRECTORY") or str(folder / "code"))
    program = Program(os.environ.get("SAGEMAKER_PROGRAM", "inference.py").removesuffix(".py"), str(folder))
    with Server(path, program) as server:
        server.serve_forever()


def _end_with_parent(path: str) -> None:
    sys.stdin.buffer.read()
    shutil.rmtree(Path(path).parent, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    main()

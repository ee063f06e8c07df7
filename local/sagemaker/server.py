"""A model server: runs inside its own process, in the model's folder, with the model's own inference.py.

`python server.py MODEL_DIR SOCKET` answers on a Unix socket. A request is a JSON header line (content type, accept,
length) and the body; so is the answer (status, content type, length).
"""

from __future__ import annotations

import importlib
import json
import os
import socketserver
import sys
import traceback
from pathlib import Path
from typing import Any


class Server(socketserver.ThreadingUnixStreamServer):
    """One thread per connection; the platform keeps a few connections open."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, path: str, program: Any, model: Any) -> None:
        super().__init__(path, Handler)
        self.program, self.model = program, model


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
        program = self.server.program
        try:
            text = body.decode("utf-8") if content_type.startswith(("text/", "application/json")) else body
            rows = program.input_fn(text, content_type)
            answer = program.output_fn(program.predict_fn(rows, self.server.model), accept)
        except Exception as error:  # noqa: BLE001 - whatever the model's code raises is the model's answer
            status = int(getattr(error, "status_code", 500))
            if status >= 500:
                traceback.print_exc()
            return status, "text/plain", str(getattr(error, "message", error)).encode()
        content, kind = answer if isinstance(answer, tuple) else (answer, accept)
        return 200, kind, content.encode() if isinstance(content, str) else bytes(content)


def main() -> None:
    """The model is loaded, and the socket answers until the process is ended."""
    folder, path = Path(sys.argv[1]), sys.argv[2]
    code = Path(os.environ.get("SAGEMAKER_SUBMIT_DIRECTORY", folder / "code"))
    sys.path.insert(0, str(code))
    program = importlib.import_module(os.environ.get("SAGEMAKER_PROGRAM", "inference.py").removesuffix(".py"))
    with Server(path, program, program.model_fn(str(folder))) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()

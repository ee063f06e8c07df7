"""`python -m local up`: the embedded AWS on one port, for boto3, the AWS CLI and the SAM CLI."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from local import REGION, authorization, environment


def main(arguments: list[str] | None = None) -> int:
    """0 when the embedded AWS ran and was told to stop, 1 with a sentence when it could not start."""
    parser = argparse.ArgumentParser(prog="local", description=__doc__)
    up = parser.add_subparsers(dest="command", required=True).add_parser("up", help="serve until stopped (Ctrl-C)")
    up.add_argument("--port", type=int, default=4566, help="where to answer, on 127.0.0.1 (4566)")
    up.add_argument(
        "--bind", metavar="ADDRESS", help="also answer there: 172.17.0.1 is where Docker's containers reach it"
    )
    up.add_argument("--root", type=Path, default=Path(".local"), help="where the state is kept (.local)")
    up.add_argument("--fresh", action="store_true", help="forget the state first")
    up.add_argument("--wait-scale", type=float, default=0.02, help="a waiting second of a state machine, in seconds")
    options = parser.parse_args(arguments)
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", options.port)) == 0:
            print(f"port {options.port} is taken: stop what listens there, or say --port N", file=sys.stderr)
            return 1
    root: Path = options.root.resolve()
    if options.fresh:
        for name in ("ministack", "s3", "sagemaker", "state", "runtime"):
            shutil.rmtree(root / name, ignore_errors=True)
    (root / "state").mkdir(parents=True, exist_ok=True)
    asyncio.run(_serve(options.port, root, options.wait_scale, options.bind))
    return 0


async def _serve(port: int, root: Path, wait_scale: float, bind: str | None) -> None:
    from local import ministack

    ministack.prepare(port, root, wait_scale)
    import boto3
    from botocore.config import Config

    from local.clock import clock
    from local.gateway import Gateway
    from local.sagemaker import SageMaker
    from local.sagemaker.store import Access
    from local.wire import Wire
    from local.xray import XRay

    xray = XRay(time.time)
    os.environ["AWS_XRAY_DAEMON_ADDRESS"] = f"127.0.0.1:{xray.port}"
    session: Any = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION)  # noqa: S106
    url = f"http://127.0.0.1:{port}"
    clients: dict[tuple[str, str], object] = {}
    making = threading.Lock()

    def client(service: str, role: str) -> object:
        with making:
            if (service, role) not in clients:
                config = Config(max_pool_connections=32, s3={"addressing_style": "path"})
                given = {name.lower(): value for name, value in environment_of(role).items()}
                clients[service, role] = session.client(service, endpoint_url=url, config=config, **given)
            return clients[service, role]

    def environment_of(role: str) -> dict[str, str]:
        return ministack.session(role, "SageMaker") if role else {}

    def require(role: str, operation: str, params: dict[str, Any]) -> None:
        platform.require(role, authorization.of_sagemaker(operation, params))

    def put_event(source: str, detail_type: str, detail: dict[str, Any], resources: list[str]) -> None:
        platform.put_event(source, detail_type, detail, resources)

    sagemaker = SageMaker(
        access=Access(client, environment_of, require), put_event=put_event, clock=clock, root=root / "sagemaker"
    )
    wires = {"sagemaker": Wire("sagemaker", sagemaker.handle), "xray": Wire("xray", xray.handle)}
    kept = root / "state"
    platform: ministack.Platform
    writing: dict[str, Callable[[], None]] = {
        "sagemaker": lambda: sagemaker.save(kept / "sagemaker.json"),
        "xray": lambda: xray.save(kept / "xray.json"),
        "calls": lambda: platform.record.save(kept / "calls.json"),
        "clock": lambda: clock.save(kept / "clock.json"),
    }
    platform = ministack.Platform(clock, wires, xray, root / "runtime", writing)
    clock.load(kept / "clock.json")
    xray.load(kept / "xray.json")
    platform.record.load(kept / "calls.json")

    def ready() -> None:
        sagemaker.load(kept / "sagemaker.json")
        _explain(url, root)

    gateway = Gateway(platform, sagemaker, clock)
    try:
        await gateway.serve(port, ready, bind)
    finally:
        # Before it was ready it would save less than there was.
        platform.keeper.now(*(name for name in writing if gateway.ready or name != "sagemaker"))


def _explain(url: str, root: Path) -> None:
    for name, value in environment(url).items():
        print(f"export {name}={value}")
    print("# With these in a shell, aws, sam and boto3 speak to this AWS: aws sagemaker list-endpoints")
    print(f'# Its clock: curl -X PUT {url}/_local/clock -d \'{{"now": "2013-03-01T05:00:00Z"}}\'')
    print(f"# Ctrl-C stops it; its state stays in {root} for the next time.", flush=True)


if __name__ == "__main__":
    sys.exit(main())

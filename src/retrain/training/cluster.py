"""Several instances of one training job, connected so that they train one model (xgboost.collective)."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from xgboost import collective
from xgboost.tracker import RabitTracker

PORT = 9099
_PATIENCE = 300  # seconds in which every instance has to come up
_PAUSE = 2.0


@contextmanager
def together(hosts: Sequence[str], current: str, port: int = PORT) -> Iterator[None]:
    """Within, the hosts are one group: `collective.get_rank()` is this one's place among them, 0 for the first.

    The first host also runs the tracker through which they find each other. One host alone is a group of one, with
    nothing to connect. Raises TimeoutError when a host does not come up, XGBoostError when one is lost.
    """
    names = sorted(hosts)
    if len(names) == 1:
        yield
        return
    address = _address(names[0])
    rank = names.index(current)
    tracker = None
    if rank == 0:
        tracker = RabitTracker(host_ip=address, n_workers=len(names), port=port, sortby="task", timeout=_PATIENCE)
        tracker.start()
    with collective.CommunicatorContext(
        dmlc_tracker_uri=address,
        dmlc_tracker_port=port,
        dmlc_task_id=f"{rank:04d}",  # ranks follow the order of these texts
        dmlc_retry=15,  # with growing pauses: the tracker's host may come up last
        dmlc_timeout=_PATIENCE * 4,
    ):
        yield
    if tracker is not None:
        tracker.wait_for(_PATIENCE)


def _address(host: str) -> str:
    """The host's IP address; its name is not known before its container runs."""
    last = time.monotonic() + _PATIENCE
    while True:
        try:
            return socket.gethostbyname(host)
        except OSError as error:
            if time.monotonic() > last:
                raise TimeoutError(f"the name of {host} was not known after {_PATIENCE} seconds: {error}") from error
            time.sleep(_PAUSE)

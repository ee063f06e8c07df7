"""For whom a thread or a task of the embedded AWS works: the account, and the trace."""

from __future__ import annotations

import contextvars

from local import ACCOUNT, REGION

trace_header: contextvars.ContextVar[str | None] = contextvars.ContextVar("trace_header", default=None)


def as_account() -> None:
    """What this thread or task does from here on belongs to the one account and region."""
    from ministack.core.responses import set_request_account_id, set_request_region

    set_request_account_id(ACCOUNT)
    set_request_region(REGION)

"""Deterministic names: whoever tries again finds what the first attempt made, under the same name."""

from __future__ import annotations

import re
from datetime import datetime
from hashlib import sha256
from urllib.parse import quote

VARIANT = "AllTraffic"  # blue/green deployments need the same variant name in both configs, so it never changes
# What people, the calendar and other applications may ask of the loop, and the event that asks it.
REQUESTS = {
    "bootstrap": "Bootstrap Requested",
    "retrain": "Retraining Requested",
    "rollback": "Rollback Requested",
    "adopt": "Adoption Requested",
    "restore": "Restoration Requested",
    "pause": "Pause Requested",
    "resume": "Resume Requested",
    "exclude": "Exclusion Requested",
    "evidence": "Evidence Sufficient",  # by the quality monitor
}
PREDICTION = "_prediction"  # the model's output among the features of statistics.json
WINDOW_ANALYSED, EPISODE_CHANGED = "Window Analysed", "Episode Changed"  # news on the event bus

_NOT_NAME = re.compile(r"[^a-zA-Z0-9]+")


def cut(name: str, limit: int) -> str:
    """`name` if it fits, else its beginning and a hash of all of it, so that it stays unique.

    >>> cut("flights", 63)
    'flights'
    >>> cut("a-very-long-name-of-an-endpoint", 20)
    'a-very-long-95681958'
    """
    if len(name) <= limit:
        return name
    suffix = sha256(name.encode()).hexdigest()[:8]
    return f"{name[: limit - 9].rstrip('-')}-{suffix}"


def episode_id(endpoint_name: str, cause: str, at: datetime) -> str:
    """The id of the episode that `cause` (an alarm ARN, or "bootstrap") opened at `at` for the endpoint.

    At most 63 characters of [a-zA-Z0-9-], because SageMaker's models and endpoint configs are named after it.

    >>> from retrain.core.clock import parse
    >>> episode_id("flights", "arn:aws:cloudwatch:us-east-1:000000000000:alarm:drift", parse("2013-04-01T00:00:12Z"))
    'flights-20130401-000012-3f07d80c'
    """
    told_apart = sha256(f"{endpoint_name}|{cause}|{at.isoformat()}".encode()).hexdigest()[:8]
    return f"{cut(endpoint_name, 38)}-{at:%Y%m%d-%H%M%S}-{told_apart}"


def execution_name(episode: str) -> str:
    """The name of the episode's Step Functions execution (limit 80)."""
    return cut(episode, 80)


def request_token(episode: str, attempt: int = 0) -> str:
    """The ClientRequestToken of the episode's pipeline execution (32 to 128 characters): one per attempt.

    >>> len(request_token("flights-20130401-000012-3f07d80c"))
    65
    """
    told_apart = f"{episode} {attempt}" if attempt else episode
    return f"{cut(episode, 63)}-{sha256(told_apart.encode()).hexdigest()[:32]}"


def model_name(episode: str) -> str:
    """The name of the SageMaker model that the episode creates (limit 63)."""
    return cut(_NOT_NAME.sub("-", episode).strip("-"), 63)


def endpoint_config_name(episode: str) -> str:
    """The name of the endpoint config that the episode creates (limit 63)."""
    return model_name(episode)


def episode_page(episode: str) -> str:
    """The key of the episode's page."""
    return f"episodes/{episode}/episode.html"


def drift_page(analysis: str) -> str:
    """The key, or URI, of the page of the analysis that is filed there.

    >>> drift_page("s3://bucket/monitor/flights/flights-drift/2013/04/01/00/analysis.json")
    's3://bucket/monitor/flights/flights-drift/2013/04/01/00/drift.html'
    """
    return f"{analysis.rpartition('/')[0]}/drift.html"


def quality_page(analysis: str) -> str:
    """The key of the page of an analysis of the quality monitor."""
    return f"{analysis.rpartition('/')[0]}/quality.html"


def console_link(bucket: str, key: str, region: str) -> str:
    """Where the object is in AWS's console, for people who may sign in there; "Open" shows it.

    >>> console_link("data", "a b/drift.html", "eu-west-1")
    'https://eu-west-1.console.aws.amazon.com/s3/object/data?region=eu-west-1&prefix=a%20b/drift.html'
    """
    houses = {"cn": "console.amazonaws.cn", "us-gov": "console.amazonaws-us-gov.com"}
    house = next((host for start, host in houses.items() if region.startswith(f"{start}-")), "console.aws.amazon.com")
    return f"https://{region}.{house}/s3/object/{bucket}?region={region}&prefix={quote(key)}"


def schedule_name(endpoint_name: str) -> str:
    """The name under which the drift monitor's analyses of an endpoint are filed and published.

    >>> schedule_name("flights")
    'flights-drift'
    """
    return f"{endpoint_name}-drift"


def quality_schedule_name(endpoint_name: str) -> str:
    """The name under which the quality monitor's analyses of an endpoint are filed and published.

    >>> quality_schedule_name("flights")
    'flights-quality'
    """
    return f"{endpoint_name}-quality"


def intake_job_name(endpoint_name: str, shelf: str, hour: datetime) -> str:
    """The Processing job that reads the captures up to that hour for that shelf of stored intakes (limit 63).

    >>> from retrain.core.clock import parse
    >>> intake_job_name("flights", "profiles/flights/3f07d80c5b1e2a90", parse("2013-04-01T05:00:00Z"))
    'flights-intake-2013040105-3f07d80c'
    """
    return cut(f"{endpoint_name}-intake-{hour:%Y%m%d%H}-{shelf.rsplit('/', 1)[-1][:8]}", 63)

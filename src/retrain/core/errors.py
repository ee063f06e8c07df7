"""One error root, three branches: try again, give up, or refuse.

The class name is what Step Functions sees as the error of a task, so these names are part of the state machine's
contract: tests/deployed holds statemachine/retrain.asl.json against this module.
"""

from __future__ import annotations


class RetrainError(Exception):
    """Root of every error that this application raises on purpose."""


class Retryable(RetrainError):  # noqa: N818 - a branch, named for what the caller does
    """A later call may succeed; nothing was decided."""


class Throttled(Retryable):
    """An AWS service asked to slow down, or failed on its side."""


class EndpointBusy(Retryable):
    """The endpoint is changing; it can't be updated until it has settled."""


class Permanent(RetrainError):  # noqa: N818 - a branch, named for what the caller does
    """Trying again changes nothing; a person has to look."""


class MalformedEvent(Permanent):
    """The event is not what its sender promised."""


class InvalidSettings(Permanent):
    """A setting is missing or out of its range."""


class InvalidSpec(Permanent):
    """model.toml can't be used as it is."""


class PipelineMissing(Permanent):
    """The SageMaker pipeline does not exist."""


class PipelineFailed(Permanent):
    """The SageMaker pipeline ended without doing its work."""


class PipelineOverQuota(Permanent):
    """A job of the SageMaker pipeline met a service quota, and the pipeline is over; the message names it."""


class PipelineTimeout(Permanent):
    """The SageMaker pipeline took longer than it may, and was stopped."""


class ExecutionLost(Permanent):
    """SageMaker does not know the pipeline execution that was started."""


class QuotaExceeded(Permanent):
    """A service quota is used up; the message names it."""


class NoArtifact(Permanent):
    """The pipeline succeeded, but what it should have produced is missing or unreadable."""


class NoBaseline(Permanent):
    """There is no readable baseline to compare a window with."""


class NameCollision(Permanent):
    """A resource of that name exists with other content."""


class NotOurs(Permanent):
    """Something of that name exists and belongs to somebody else; it is left alone."""


class NotDeployed(Permanent):
    """There is no such stack, endpoint or episode here."""


class EndpointBroken(Permanent):
    """The endpoint is in a state that no update leads out of."""


class EndpointTimeout(Permanent):
    """The endpoint took longer to change than it may."""


class RolledBack(Permanent):
    """The endpoint is in service again with the config it had before."""


class Diverged(Permanent):
    """Somebody else changed the endpoint; it is left alone."""


class AccessDenied(Permanent):
    """The role of the function lacks a permission."""


class AwsRejected(Permanent):
    """An AWS service refused the request itself."""


class Refused(RetrainError):  # noqa: N818 - the name is part of the state machine
    """The loop decided not to go on; `code` says why in one word, `detail` in a sentence.

    str() is "code: detail", which is also what a refusing job writes to its failure file.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


#: Every code a refusal may carry. A job's text is only taken for a refusal if it begins with one of these.
REFUSALS = frozenset(
    {
        "labels_insufficient",
        "capture_corrupt",
        "capture_missing",
        "schema_mismatch",
        "suspect_data",
        "too_few_rows",
        "no_champion",
        "no_champion_metric",
        "bad_metric",
        "labels_suspect",
        "not_better",
        "trade_off",
        "forgets_reference",
        "degrades_segment",
        "segment_unknown",
        "biased",
        "miscalibrated",
        "fails_in_shadow",
        "artifact_tampered",
        "stopped_by_operator",
        "approval_expired",
        "rejected",
        "unsafe_to_start",
        "unsupported_endpoint",
        "unknown_model",
        "fenced",
        "malformed_event",
        "unknown_alarm",
        "unknown_endpoint",
        "unknown_episode",
        "foreign_source",
        "unsupported_alarm_kind",
    }
)


def refusal_in(text: str) -> Refused | None:
    """The refusal that a job's `code: detail` text is, or None if the text is something else.

    SageMaker puts words of its own around a container's text, so the code may be anywhere at the beginning of a line
    or behind a colon.

    >>> refusal_in("AlgorithmError: labels_insufficient: 12 of 900 rows have a label, exit code: 1").code
    'labels_insufficient'
    >>> refusal_in("AlgorithmError: division by zero") is None
    True
    """
    for line in text.splitlines():
        parts = [part.strip(" \"'") for part in line.split(": ")]
        for index, part in enumerate(parts[:-1]):
            if part in REFUSALS:
                return Refused(part, ": ".join(parts[index + 1 :]).strip())
    return None

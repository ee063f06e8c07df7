"""What `sam local invoke` needs: the deployed functions' own settings, and events that name what this stack has."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from retrain.core import clock
from retrain.operate.deployment import Deployment

LAYER = "TelemetryLayer"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)")
_TOLD = ("Handler", "Runtime", "MemorySize", "Timeout", "Architectures")


def functions_template(deployed: Deployment, url: str | None) -> dict[str, Any]:
    """A template of the stack's functions as they are deployed, for .aws-sam/build, where `sam build` put their code.

    sam's own --env-vars can't do it: it fills in only variables whose names the template has, and where AWS is not the
    one of the region, at `url`, the functions need AWS_ENDPOINT_URL too.
    """
    resources: dict[str, Any] = {
        LAYER: {"Type": "AWS::Serverless::LayerVersion", "Properties": {"ContentUri": f"{LAYER}/"}}
    }
    for name, physical in deployed.of_type("AWS::Lambda::Function").items():
        found = deployed.functions.configuration(physical)
        variables = dict(found.get("Environment", {}).get("Variables", {}))
        resources[name] = {
            "Type": "AWS::Serverless::Function",
            "Properties": {
                **{key: found[key] for key in _TOLD if key in found},
                "CodeUri": f"{name}/",
                "Layers": [{"Ref": LAYER}],
                "Environment": {"Variables": variables | ({"AWS_ENDPOINT_URL": url} if url else {})},
            },
        }
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Transform": "AWS::Serverless-2016-10-31",
        "Description": f"The functions of {deployed.stack_id} as deployed: sam local invoke NAME -t THIS_FILE -e EVENT",
        "Resources": resources,
    }


def event_here(event: Mapping[str, Any], deployed: Deployment) -> dict[str, Any]:
    """An event of events/ with this stack's names in the place of its examples', as if it came now.

    All its times are moved alike, so that what it names as `time` (or a step's `now`) is AWS's now.
    """
    stack = deployed.stack_id.split(":")
    champion = deployed.ledger.champion(deployed.endpoint_name) or {}
    alarms = deployed.of_type("AWS::CloudWatch::Alarm")
    replaced = {f"alarm:drift-retrain-{name}": f"alarm:{physical}" for name, physical in alarms.items()}
    replaced |= {
        "000000000000": stack[4],
        "us-east-1": stack[3],
        '"flights"': f'"{deployed.endpoint_name}"',
        "model-package/flights": f"model-package/{deployed.outputs['ModelPackageGroupName']}",
        '"ModelPackageGroupName": "flights"': f'"ModelPackageGroupName": "{deployed.outputs["ModelPackageGroupName"]}"',
        "s3://bucket/": deployed.store.uri(""),
        '"flights-champion"': f'"{champion.get("episode_id", "flights-champion")}"',
    }
    text = json.dumps(_as_if_now(event, deployed.caller().now))
    for example, ours in sorted(replaced.items(), key=lambda pair: -len(pair[0])):
        text = text.replace(example, ours)
    return dict(json.loads(text))


def _as_if_now(event: Mapping[str, Any], now: datetime) -> Any:
    """The event with all its times later by as much as it is old.

    >>> event = {"time": "2013-04-01T00:00:41Z", "at": "2013-04-01T00:00:40.500+0000"}
    >>> _as_if_now(event, clock.parse("2026-01-01T00:00:01Z"))
    {'time': '2026-01-01T00:00:01Z', 'at': '2026-01-01T00:00:00.500Z'}
    """
    told = event.get("time") or event.get("now")
    try:
        age = now - clock.parse(str(told))
    except ValueError:
        return dict(event)
    return json.loads(_TIME.sub(lambda found: clock.render(clock.parse(found[0]) + age), json.dumps(event)))

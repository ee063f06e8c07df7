"""DynamoDB: items read and written in plain Python, alone or several at once, each write with its condition."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

from retrain.aws.calls import classified, code_of
from retrain.core.errors import Throttled

Item = dict[str, Any]
Write = dict[str, Item]  # what TransactWriteItems takes, but for the table's name

_ALIAS = re.compile(r"#(\w+)")
_CONFLICT, _UNMET = "TransactionConflict", "ConditionalCheckFailed"
_ATTEMPTS = 5

_serialize = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize


class _Unmet(Exception):  # noqa: N818 - an answer, not a mistake
    """The condition of the item with that index did not hold."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


class Table:
    """A table with keys pk and sk. In expressions `#word` is the attribute `word`: DynamoDB reserves so many words."""

    def __init__(self, dynamodb: Any, name: str) -> None:
        self._dynamodb = dynamodb
        self._name = name

    def get(self, key: Item) -> Item | None:
        """The item as it is now, None if there is none."""
        with classified("dynamodb:GetItem"):
            found = self._dynamodb.get_item(TableName=self._name, Key=_wire(key), ConsistentRead=True)
        return _plain(found["Item"]) if "Item" in found else None

    def snapshot(self, keys: Sequence[Item]) -> list[Item | None]:
        """The items of those keys, all as they were at one moment; None for each that there is not."""
        gets = [{"Get": {"TableName": self._name, "Key": _wire(key)}} for key in keys]
        found = self._transact("TransactGetItems", self._dynamodb.transact_get_items, gets)
        return [_plain(answer["Item"]) if "Item" in answer else None for answer in found["Responses"]]

    def query(self, index: str, most: int | None = None, **key: str) -> list[Item]:
        """The items of that one key in the index, or so many of them, the last ones first."""
        (name, value), *_ = key.items()
        with classified("dynamodb:Query"):
            pages = self._dynamodb.get_paginator("query").paginate(
                TableName=self._name,
                IndexName=index,
                KeyConditionExpression=f"{name} = :value",
                ExpressionAttributeValues=_wire({":value": value}),
                ScanIndexForward=False,
                PaginationConfig={"MaxItems": most},
            )
            return [_plain(item) for page in pages for item in page["Items"]]

    def below(self, pk: str, prefix: str) -> list[Item]:
        """The items of that pk whose sk begins so, as they are now, in the order of their sk."""
        with classified("dynamodb:Query"):
            pages = self._dynamodb.get_paginator("query").paginate(
                TableName=self._name,
                KeyConditionExpression="pk = :pk AND begins_with(sk, :prefix)",
                ExpressionAttributeValues=_wire({":pk": pk, ":prefix": prefix}),
                ConsistentRead=True,
            )
            return [_plain(item) for page in pages for item in page["Items"]]

    def write(self, write: Write) -> bool:
        """Whether its condition held, so that it was written."""
        ((kind, arguments),) = write.items()
        call = self._dynamodb.put_item if kind == "Put" else self._dynamodb.update_item
        with classified(f"dynamodb:{kind}Item"):
            try:
                call(TableName=self._name, **arguments)
            except ClientError as error:
                if code_of(error) == "ConditionalCheckFailedException":
                    return False
                raise
        return True

    def transact(self, writes: Mapping[str, Write]) -> str | None:
        """All writes happened, or none and the name of the first whose condition did not hold."""
        items = [
            {kind: {"TableName": self._name, **arguments}}
            for write in writes.values()
            for kind, arguments in write.items()
        ]
        try:
            self._transact("TransactWriteItems", self._dynamodb.transact_write_items, items)
        except _Unmet as unmet:
            return list(writes)[unmet.index]
        return None

    @staticmethod
    def _transact(action: str, call: Any, items: Sequence[Item]) -> Item:
        """The transaction's answer; tried again while another one is on the same items."""
        for attempt in range(_ATTEMPTS):
            with classified(f"dynamodb:{action}"):
                try:
                    return dict(call(TransactItems=list(items)))
                except ClientError as error:
                    if code_of(error) != "TransactionCanceledException":
                        raise
                    codes = [reason.get("Code") for reason in error.response.get("CancellationReasons", [])]
                    if _UNMET in codes:
                        raise _Unmet(codes.index(_UNMET)) from error
                    if _CONFLICT not in codes:
                        raise
            time.sleep(0.05 * 2**attempt)
        raise Throttled(f"dynamodb:{action}: the same items are written by others all the time")


def put(item: Item, condition: str = "", values: Item | None = None) -> Write:
    """The item is this one."""
    return {"Put": {"Item": _wire(item), **_condition(condition, values or {})}}


def check(key: Item, condition: str, values: Item) -> Write:
    """Nothing is written; in a transaction, the others depend on it."""
    return {"ConditionCheck": {"Key": _wire(key), **_condition(condition, values)}}


def update(key: Item, expression: str, condition: str, values: Item, names: Mapping[str, str] | None = None) -> Write:
    """The item of that key is changed. `names` are the attributes of aliases that are not called after them."""
    changed = {"Key": _wire(key), "UpdateExpression": expression}
    return {"Update": {**changed, **_condition(condition, values, expression, names)}}


def _condition(condition: str, values: Item, expression: str = "", names: Mapping[str, str] | None = None) -> Item:
    """The parts of a request that a condition needs, and only those: DynamoDB refuses unused names."""
    used = {f"#{word}": word for word in _ALIAS.findall(f"{expression} {condition}")}
    parts: Item = {"ConditionExpression": condition} if condition else {}
    if used:
        parts["ExpressionAttributeNames"] = {**used, **(names or {})}
    if values:
        parts["ExpressionAttributeValues"] = _wire(values)
    return parts


def _wire(item: Mapping[str, Any]) -> Item:
    return {name: _serialize(_to_dynamodb(value)) for name, value in item.items()}


def _plain(item: Mapping[str, Any]) -> Item:
    return {name: _from_dynamodb(_deserialize(value)) for name, value in item.items()}


def _to_dynamodb(value: Any) -> Any:
    """Floats as decimals, all the way down: DynamoDB knows no floats."""
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, Mapping):
        return {name: _to_dynamodb(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_dynamodb(item) for item in value]
    return value


def _from_dynamodb(value: Any) -> Any:
    """Whole decimals as integers, others as floats."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dict):
        return {name: _from_dynamodb(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_from_dynamodb(item) for item in value]
    return value

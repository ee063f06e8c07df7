"""DynamoDB in memory, as far as the ledger asks it: conditional writes, transactions, queries; fast, cheaply copied.

Items are what the wire carries, and are replaced, never changed, so that a copy of the table may share them.
tests/faults/test_protocol.py holds it against moto's DynamoDB.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import cache
from typing import Any

from botocore.exceptions import ClientError

Wire = dict[str, Any]
Key = tuple[str, str]
Condition = Callable[["Request"], bool]

_TOKEN = re.compile(r"\s*(<=|>=|<>|[(),=<>]|[#:]?\w+)")
_CLAUSE = re.compile(r"\b(SET|REMOVE|ADD)\b")
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda one, other: bool(one == other),
    "<": lambda one, other: bool(one < other),
    "<=": lambda one, other: bool(one <= other),
    ">": lambda one, other: bool(one > other),
    ">=": lambda one, other: bool(one >= other),
}


class Request:
    """An item, and the names and values that an expression speaks of."""

    def __init__(self, item: Wire | None, asked: Mapping[str, Any]) -> None:
        self.item = item or {}
        self._names = asked.get("ExpressionAttributeNames", {})
        self.values = asked.get("ExpressionAttributeValues", {})

    def name(self, token: str) -> str:
        return str(self._names[token]) if token.startswith("#") else token

    def wire(self, token: str) -> Any:
        """The value that the token stands for, None if the item has no such attribute."""
        return self.values[token] if token.startswith(":") else self.item.get(self.name(token))

    def plain(self, token: str) -> Any:
        return _plain(self.wire(token))


class MemoryTable:
    """One table with keys pk and sk, called as boto3's client is."""

    def __init__(self, items: Mapping[Key, Wire] | None = None) -> None:
        self.items: dict[Key, Wire] = dict(items or {})

    def get_item(self, *, Key: Wire, **_: Any) -> Wire:
        item = self.items.get(_key(Key))
        return {"Item": item} if item else {}

    def put_item(self, **asked: Any) -> Wire:
        return self._alone("Put", asked)

    def update_item(self, **asked: Any) -> Wire:
        return self._alone("Update", asked)

    def transact_get_items(self, *, TransactItems: list[Wire]) -> Wire:
        return {"Responses": [self.get_item(**item["Get"]) for item in TransactItems]}

    def transact_write_items(self, *, TransactItems: list[Wire]) -> Wire:
        writes = [next(iter(item.items())) for item in TransactItems]
        met = [self._met(asked) for _, asked in writes]
        if not all(met):
            reasons = [{"Code": "None" if fine else "ConditionalCheckFailed"} for fine in met]
            said = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": reasons}
            raise ClientError(said, "TransactWriteItems")  # type: ignore[arg-type]
        for kind, asked in writes:
            self._write(kind, asked)
        return {}

    def get_paginator(self, operation: str) -> MemoryTable:
        assert operation == "query"
        return self

    def paginate(self, **asked: Any) -> Iterator[Wire]:
        """One page with all that the query finds."""
        values = asked["ExpressionAttributeValues"]
        if "IndexName" in asked:
            found = [item for item in self.items.values() if item.get("endpoint_name") == values[":value"]]
            found.sort(key=lambda item: item["opened_at"]["S"], reverse=not asked.get("ScanIndexForward", True))
            yield {"Items": found[: (asked.get("PaginationConfig") or {}).get("MaxItems")]}
        else:
            pk, prefix = values[":pk"]["S"], values[":prefix"]["S"]
            below = sorted(key for key in self.items if key[0] == pk and key[1].startswith(prefix))
            yield {"Items": [self.items[key] for key in below]}

    def _alone(self, kind: str, asked: Wire) -> Wire:
        if not self._met(asked):
            raise ClientError({"Error": {"Code": "ConditionalCheckFailedException"}}, f"{kind}Item")
        self._write(kind, asked)
        return {}

    def _met(self, asked: Wire) -> bool:
        item = self.items.get(_key(asked.get("Key") or asked["Item"]))
        condition = asked.get("ConditionExpression")
        return condition is None or _condition(condition)(Request(item, asked))

    def _write(self, kind: str, asked: Wire) -> None:
        if kind == "Put":
            self.items[_key(asked["Item"])] = asked["Item"]
        elif kind == "Update":
            key = _key(asked["Key"])
            self.items[key] = _updated(Request(self.items.get(key) or asked["Key"], asked), asked["UpdateExpression"])


def _key(item: Wire) -> Key:
    return item["pk"]["S"], item["sk"]["S"]


def _plain(wire: Any) -> Any:
    if wire is None:
        return None
    ((kind, value),) = wire.items()
    return Decimal(value) if kind == "N" else frozenset(value) if kind == "SS" else value


# Expressions ---------------------------------------------------------------------------------------------------------


def _updated(request: Request, expression: str) -> Wire:
    item = dict(request.item)
    _, *clauses = _CLAUSE.split(expression)
    for kind, text in zip(clauses[::2], clauses[1::2], strict=True):
        for part in text.split(","):
            if kind == "SET":
                name, _, value = part.partition("=")
                item[request.name(name.strip())] = _sum(request, value)
            elif kind == "REMOVE":
                item.pop(request.name(part.strip()), None)
            else:
                name, value = part.split()
                item[request.name(name)] = _added(request.wire(name), request.values[value])
    return item


def _sum(request: Request, text: str) -> Wire:
    first, _, second = (token.strip() for token in text.partition("+"))
    return _added(request.wire(first), request.wire(second)) if second else dict(request.wire(first))


def _added(known: Wire | None, more: Wire) -> Wire:
    if "SS" in more:
        return {"SS": sorted({*(known or {"SS": []})["SS"], *more["SS"]})}
    return {"N": str(Decimal((known or {"N": "0"})["N"]) + Decimal(more["N"]))}


@cache
def _condition(text: str) -> Condition:
    tokens = _TOKEN.findall(text)
    found = _any(tokens)
    assert not tokens, f"what is {tokens}?"
    return found


def _any(tokens: list[str]) -> Condition:
    parts = [_all(tokens)]
    while tokens[:1] == ["OR"]:
        tokens.pop(0)
        parts.append(_all(tokens))
    return parts[0] if len(parts) == 1 else lambda request: any(part(request) for part in parts)


def _all(tokens: list[str]) -> Condition:
    parts = [_one(tokens)]
    while tokens[:1] == ["AND"]:
        tokens.pop(0)
        parts.append(_one(tokens))
    return parts[0] if len(parts) == 1 else lambda request: all(part(request) for part in parts)


def _one(tokens: list[str]) -> Condition:
    first = tokens.pop(0)
    if first == "NOT":
        inner = _one(tokens)
        return lambda request: not inner(request)
    if first == "(":
        inner = _any(tokens)
        assert tokens.pop(0) == ")"
        return inner
    operand: Callable[[Request], Any] = lambda request: request.plain(first)  # noqa: E731
    if tokens[0] == "(":
        arguments = _arguments(tokens)
        if first != "size":
            return _FUNCTIONS[first](*arguments)
        operand = lambda request: len(request.plain(arguments[0]) or "")  # noqa: E731
    compare, other = _COMPARE[tokens.pop(0)], tokens.pop(0)

    def compared(request: Request) -> bool:
        one, two = operand(request), request.plain(other)
        return one is not None and two is not None and compare(one, two)

    return compared


def _arguments(tokens: list[str]) -> list[str]:
    end = tokens.index(")")
    found = [token for token in tokens[1:end] if token != ","]
    del tokens[: end + 1]
    return found


_FUNCTIONS: dict[str, Callable[..., Condition]] = {
    "attribute_exists": lambda name: lambda request: request.wire(name) is not None,
    "attribute_not_exists": lambda name: lambda request: request.wire(name) is None,
    "contains": lambda name, value: lambda request: request.plain(value) in (request.plain(name) or ()),
}

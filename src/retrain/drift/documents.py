"""Model Monitor's JSON documents, read liberally: what every reader of one needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from retrain.core.errors import NoBaseline


def read_document(document: Mapping[str, Any] | str | bytes, file: str) -> Mapping[str, Any]:
    """The JSON object that the file's content is. Raises NoBaseline naming the file if it is none."""
    if isinstance(document, (str, bytes)):
        try:
            text = document.decode("utf-8-sig") if isinstance(document, bytes) else document.removeprefix("\ufeff")
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise NoBaseline(
                f"{file}: the file is not JSON ({type(error).__name__}): compute the baseline anew"
            ) from None
    if not isinstance(document, Mapping):
        raise NoBaseline(f"{file}: the file holds no JSON object: compute the baseline anew")
    return document


def feature_name(feature: Any, file: str) -> str:
    """The name of a feature of the file. Raises NoBaseline if it has none."""
    name = feature.get("name") if isinstance(feature, dict) else None
    if not isinstance(name, str) or not name:
        raise unusable(file, None, "name", "a feature has no name: compute the baseline anew")
    return name


def unusable(file: str, feature: str | None, where: str, message: str) -> NoBaseline:
    """The error that names file, feature and field."""
    return NoBaseline(f"{file}: {f'feature {feature}: ' if feature else ''}{where}: {message}")

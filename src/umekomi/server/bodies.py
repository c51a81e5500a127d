"""A request's body: bounded in bytes and seconds, and read by one strict reader of JSON. What two readers could read in
two ways (a number beyond a double, half of a surrogate pair, a key that stands twice, another charset) is refused."""

from __future__ import annotations

import asyncio
import codecs
import json
import re
from functools import partial
from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError

from umekomi.server.errors import ApiError, invalid, too_large
from umekomi.server.workers import in_thread

AnyRequest = TypeVar("AnyRequest", bound=BaseModel)

STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
MOST_VALUES, MOST_CONTAINERS = 1_100_000, 50_000
"""Values of one body, and arrays and objects among them: each costs many times its bytes in memory."""
THREADED_BYTES = 64 << 10
"""A body from here on is read in a thread, so that others are answered meanwhile."""
CHARSET = re.compile(r';\s*charset\s*=\s*"?([^\s;"]*)', re.IGNORECASE)


async def read(request: Request, kind: type[AnyRequest], *, most: int, seconds: float) -> AnyRequest:
    """The body of ``request``, of at most ``most`` bytes that arrive within ``seconds``, as ``kind``."""
    _check_type(request)
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > most:
        raise too_large(most)
    parts, size = [], 0
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise too_large(most)
                parts.append(part)
    except TimeoutError:
        raise ApiError(408, f"the body did not arrive within {seconds:g} s", code="slow_body") from None
    body = b"".join(parts)
    return _made(body, kind) if len(body) < THREADED_BYTES else await in_thread(partial(_made, body, kind))


def _made(body: bytes, kind: type[AnyRequest]) -> AnyRequest:
    value = parse_json(body)
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise invalid(error, value) from None


def _check_type(request: Request) -> None:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise ApiError(415, f"content-encoding: expected none, found {encoding[:40]!r}", code="unsupported_encoding")
    for charset in CHARSET.findall(request.headers.get("content-type", "")):
        try:
            known = codecs.lookup(charset).name in ("utf-8", "ascii")
        except (LookupError, ValueError):
            known = False
        if not known:
            raise ApiError(415, f"charset: expected utf-8, found {charset[:40]!r}", code="unsupported_charset")


def parse_json(body: bytes) -> Any:
    """The value of a JSON text.

    >>> parse_json(b'{"input": ["a", "b"]}')
    {'input': ['a', 'b']}
    >>> parse_json(b'{"input": "a", "input": "b"}')
    Traceback (most recent call last):
    umekomi.server.errors.ApiError: expected every key once, found 'input' twice
    """
    bare = STRING.sub(b"", body)
    if bare.count(b",") > MOST_VALUES or bare.count(b"[") + bare.count(b"{") > MOST_CONTAINERS:
        raise ApiError(
            413,
            f"the body is too large: expected at most {MOST_VALUES:,} values, of them {MOST_CONTAINERS:,} arrays and "
            "objects",
            code="too_large",
        )
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"expected JSON, found what is none: {error}", code="invalid_json") from None
    if bare.count(b":") != _keys(value):  # orjson takes the last of equal keys
        try:
            json.loads(body, object_pairs_hook=_once)
        except RecursionError:
            raise ApiError(400, "expected every key once, found one twice", code="invalid_json") from None
    return value


def _keys(value: object) -> int:
    """Of all objects in ``value`` together."""
    count, left = 0, [value]
    while left:
        each = left.pop()
        if isinstance(each, dict):
            count += len(each)
            left += [inner for inner in each.values() if isinstance(inner, (list, dict))]
        elif isinstance(each, list):
            left += [inner for inner in each if isinstance(inner, (list, dict))]
    return count


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen:
            raise ApiError(400, f"expected every key once, found {key[:40]!r} twice", code="invalid_json")
        seen[key] = value
    return seen

"""Answers that are errors, in OpenAI's shape, and JSON on the wire."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi.responses import Response
from pydantic import ValidationError

from umekomi.server.schemas import MOST_INPUTS


class ApiError(Exception):
    """An answer that is an error, in OpenAI's shape."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        after: float = 0,
    ):
        super().__init__(message)
        self.status, self.message, self.kind, self.param, self.code, self.after = (
            status,
            message,
            kind,
            param,
            code,
            after,
        )

    def response(self) -> Response:
        """As it goes over the wire."""
        body = {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}
        headers = {"retry-after": str(max(1, round(self.after)))} if self.after else {}
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        return Answer(body, self.status, headers)


class Answer(Response):
    """JSON by orjson, arrays of NumPy among it."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def too_large(most: int) -> ApiError:
    """More bytes than ``most``."""
    return ApiError(
        413,
        f"the body is too large: expected at most {most:,} bytes; send the texts in several requests",
        code="too_large",
    )


def invalid(error: ValidationError, body: Any) -> ApiError:
    """The first thing that is wrong with a body, in one line."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    first = problems[0]
    if (
        first["loc"] and first["loc"][0] in UNIONS and first["type"] != "missing"
    ):  # pydantic names every branch of a union: none of them is what was meant
        name = str(first["loc"][0])
        return ApiError(400, f"{name}: expected {UNIONS[name]}, found {_told(body.get(name))}", param=name)
    path = [str(part) for part in first["loc"]]
    return ApiError(
        400,
        f"{'.'.join(path) or 'the body'}: {first['msg'].removeprefix('Value error, ')}",
        param=path[0] if path else None,
    )


UNIONS = {
    "input": f"a text, 1 to {MOST_INPUTS:,} texts, or as many arrays of token ids",
    "query": "a text or an array of numbers",
    "rows": f"1 to {MOST_INPUTS:,} objects with a text, number, truth value or null under each column",
    "documents": f"1 to {MOST_INPUTS:,} texts, or objects with a field text",
}


def _told(value: object) -> str:
    if isinstance(value, list):
        kinds = sorted(
            {
                {str: "texts", int: "numbers", float: "numbers", list: "arrays", dict: "objects", bool: "booleans"}.get(
                    type(each), "null"
                )
                for each in value
            }
        )
        return f"an array of {len(value):,} {' and '.join(kinds)}" if value else "an empty array"
    if isinstance(value, str):
        return f"a text of {len(value):,} characters"
    return {"NoneType": "null", "dict": "an object", "bool": "a boolean"}.get(type(value).__name__, "a number")

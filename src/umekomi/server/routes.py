"""The routes, and what every request passes on its way to them."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from umekomi import __version__
from umekomi.errors import DataError, UmekomiError, WrongUse
from umekomi.progress import say
from umekomi.server import embedding, maps, predicting, searching
from umekomi.server.app import App, Settings
from umekomi.server.bodies import AnyRequest, read
from umekomi.server.errors import Answer, ApiError
from umekomi.server.schemas import EmbeddingRequest, PredictRequest, RerankRequest, SearchRequest, SimilarityRequest

PAGE = Path(__file__).parent / "page"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
ONCE = (b"host", b"authorization", b"x-api-key", b"api-key", b"content-type", b"content-encoding")
"""Header fields that say one thing: given twice, two readers could follow one each."""
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]*)(?::\d*)?", re.IGNORECASE)


class Gate:
    """What every request passes: the key, the host, draining, metrics; and an answer in OpenAI's shape to whatever goes
    wrong."""

    def __init__(self, app: Any, state: App) -> None:
        self.app, self.state = app, state
        self.hosts = {_host(f"[{each}]" if ":" in each and each[0] != "[" else each) for each in state.settings.hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = time.perf_counter()
        status = 500
        sent = False

        async def sending(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status, sent = message["status"], True
                extra = [(key.encode(), value.encode()) for key, value in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        try:
            refused = self._refused(scope)
            if refused is not None:
                await refused.response()(scope, receive, sending)
            else:
                await self.app(scope, receive, sending)
        except ClientDisconnect:
            status = 499  # nobody is there to answer
        except asyncio.CancelledError:  # the server ends, and no longer waits
            if not sent:
                await _ending().response()(scope, receive, sending)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            say(f"fault: {scope['method']} {scope['path']}: {type(error).__name__}: {error}")
            if not sent:
                await ApiError(500, "the server failed; its log says why", kind="server_error").response()(
                    scope, receive, sending
                )
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.state.metrics.requests.labels(route, str(status)).inc()
            self.state.metrics.seconds.labels(route).observe(time.perf_counter() - begun)

    def _refused(self, scope: Scope) -> ApiError | None:
        settings, path = self.state.settings, scope["path"]
        headers: dict[bytes, bytes] = {}
        for key, value in scope["headers"]:
            if key in ONCE:
                if key in headers:
                    return ApiError(400, f"{key.decode()}: expected this header field once, found it twice")
                headers[key] = value
        if self.hosts:
            host = headers.get(b"host", b"").decode("latin-1")
            if _host(host) not in self.hosts:
                return ApiError(
                    403,
                    f"Host: expected {', '.join(sorted(settings.hosts))}, found {host[:80]!r}",
                    kind="permission_error",
                )
        if path in ("/health", "/ready"):
            return None
        if self.state.draining:
            return _ending()
        if settings.api_key and (
            path.startswith("/v1") or path in ("/rerank", "/v2/rerank", "/metrics", "/openapi.json")
        ):
            given = headers.get(b"authorization", b"")
            token = (
                given[7:].strip()
                if given[:7].lower() == b"bearer "
                else headers.get(b"x-api-key") or headers.get(b"api-key") or b""
            )
            if not hmac.compare_digest(token, settings.api_key.encode()):
                return ApiError(
                    401,
                    "expected the server's API key as a bearer token",
                    kind="authentication_error",
                    code="invalid_api_key",
                )
        return None


def _ending() -> ApiError:
    return ApiError(503, "the server is shutting down", kind="server_error", code="draining", after=5)


def _host(field: str) -> str:
    """The host of a Host field without its port; an address in its one short form, without brackets. Empty where the
    field is none.

    >>> _host("LOCALHOST:8080"), _host("[::1]"), _host("[0:0::1]:80"), _host("127.0.0.1")
    ('localhost', '::1', '::1', '127.0.0.1')
    """
    match = HOST.fullmatch(field)
    if match is None:
        return ""
    name = match[1].lower()
    try:
        return str(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        return name


def application(models: Sequence[Any], indexes: Sequence[str | Path] = (), settings: Settings | None = None) -> FastAPI:
    """The ASGI application, for uvicorn or any other server; ``app.state.umekomi`` is the :class:`App` behind it."""
    settings = settings or Settings()
    state = App(models, indexes, settings)
    app = FastAPI(
        title="Umekomi",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=state.lifespan,
        description="Embeddings, reranking, predictions and search.",
    )
    app.state.umekomi = state
    app.add_middleware(Gate, state=state)

    async def answered(
        request: Request, kind: type[AnyRequest], answer: Callable[[App, AnyRequest], Awaitable[Response]]
    ) -> Response:
        asked = await read(request, kind, most=settings.body, seconds=settings.body_seconds)
        try:
            async with asyncio.timeout(settings.timeout):
                return await answer(state, asked)
        except TimeoutError:
            raise ApiError(
                504, f"no answer within {settings.timeout:g} s", kind="server_error", code="timeout"
            ) from None

    @app.exception_handler(ApiError)
    async def _api(_: Request, error: ApiError) -> Response:
        return error.response()

    @app.exception_handler(UmekomiError)
    async def _ours(_: Request, error: UmekomiError) -> Response:
        if isinstance(error, WrongUse) and str(error).startswith("no model named"):
            return ApiError(404, str(error), param="model", code="model_not_found").response()
        if isinstance(error, (WrongUse, DataError)):
            return ApiError(400, str(error)).response()
        say(f"fault: {error}")
        return ApiError(500, str(error), kind="server_error").response()

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> Response:
        answer = ApiError(error.status_code, str(error.detail)).response()
        for key, value in (error.headers or {}).items():
            answer.headers[key] = value
        return answer

    def body(kind: type[BaseModel]) -> dict[str, Any]:
        schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
        return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}

    errors: dict[int | str, dict[str, Any]] = {
        status: {"description": what, "content": {"application/json": {"schema": ERROR_SCHEMA}}}
        for status, what in (
            (400, "A request that cannot be answered"),
            (401, "No key, or another"),
            (403, "Another host"),
            (404, "No such model or index"),
            (408, "The body came too slowly"),
            (413, "The body is too large"),
            (415, "A body in another charset or encoding"),
            (429, "The queue is full"),
            (431, "The head is too large"),
            (500, "A fault of the server"),
            (503, "Not ready, or shutting down"),
            (504, "No answer in time"),
        )
    }

    @app.post(
        "/v1/embeddings",
        openapi_extra=body(EmbeddingRequest),
        responses=errors,
        summary="Embed texts (OpenAI's request and response)",
    )
    async def embeddings(request: Request) -> Response:
        return await answered(request, EmbeddingRequest, embedding.embeddings)

    @app.post("/rerank", openapi_extra=body(RerankRequest), responses=errors, include_in_schema=False)
    @app.post("/v2/rerank", openapi_extra=body(RerankRequest), responses=errors, include_in_schema=False)
    @app.post(
        "/v1/rerank",
        openapi_extra=body(RerankRequest),
        responses=errors,
        summary="Order documents by a query (Cohere's and Jina's shape)",
    )
    async def rerank(request: Request) -> Response:
        return await answered(request, RerankRequest, searching.rerank)

    @app.post(
        "/v1/similarity",
        openapi_extra=body(SimilarityRequest),
        responses=errors,
        summary="Every text against every other",
    )
    async def similarity(request: Request) -> Response:
        return await answered(request, SimilarityRequest, embedding.similarity)

    @app.post(
        "/v1/predict",
        openapi_extra=body(PredictRequest),
        responses=errors,
        summary="What rows of a table come to, by a predictor",
    )
    async def predict(request: Request) -> Response:
        return await answered(request, PredictRequest, predicting.predict)

    @app.post("/v1/search", openapi_extra=body(SearchRequest), responses=errors, summary="Search in an index")
    async def search(request: Request) -> Response:
        return await answered(request, SearchRequest, searching.search)

    @app.get("/v1/models", responses=errors, summary="The models")
    async def models_() -> Response:
        return Answer({"object": "list", "data": [state.listed(held) for held in state.holder.models.values()]})

    @app.get("/v1/models/{model:path}", responses=errors, summary="One model")
    async def model_(model: str) -> Response:
        return Answer(state.listed(state.holder.named(model)))

    @app.get("/v1/indexes", responses=errors, summary="The indexes")
    async def indexes_() -> Response:
        return await state.listed_indexes()

    def binary(kind: str, what: str) -> dict[int | str, dict[str, Any]]:
        schema = {"type": "string", "format": "binary"} if kind == "application/octet-stream" else {"type": "string"}
        return {**errors, 200: {"description": what, "content": {kind: {"schema": schema}}}}

    @app.get(
        "/v1/indexes/{index}/map",
        response_class=Response,
        responses=binary("application/octet-stream", "float32, little-endian"),
        summary="Two dimensions of an index's vectors: float32 x, y, row by row",
    )
    async def map_(index: str) -> Response:
        return await maps.map_of(state, index)

    @app.get("/v1/indexes/{index}/items", responses=errors, summary="Points of the map by number")
    async def items_(index: str, points: str = "0") -> Response:
        return await maps.items(state, index, points)

    @app.get(
        "/v1/indexes/{index}/groups",
        responses=errors,
        summary="The points of the map in groups by a column of the payload",
    )
    async def groups_(index: str, field: str = "") -> Response:
        return await maps.groups(state, index, field)

    @app.get("/health", summary="Is the process alive?")
    async def health() -> Response:
        return Answer({"status": "ok", "version": __version__})

    @app.get("/ready", responses={503: errors[503]}, summary="Does it take requests?")
    async def ready() -> Response:
        if state.draining or not state.ready:
            return ApiError(
                503, "shutting down" if state.draining else "starting", kind="server_error", code="not_ready", after=1
            ).response()
        return Answer(
            {"status": "ready", "models": [held.id for held in state.holder.models.values() if held.opened is not None]}
        )

    @app.get(
        "/metrics",
        summary="Prometheus",
        response_class=Response,
        responses=binary("text/plain", "Prometheus' text format"),
    )
    async def metrics() -> Response:
        return Response(state.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    plain_schema = app.openapi

    def schema() -> dict[str, Any]:
        """The schema with the ids that this server knows."""
        if app.openapi_schema is None:
            known = {
                "model": list(state.holder.models),
                "rerank": list(state.holder.models),
                "index": list(state.indexes),
            }
            for path in plain_schema()["paths"].values():
                for operation in path.values():
                    body_schema = (
                        operation.get("requestBody", {})
                        .get("content", {})
                        .get("application/json", {})
                        .get("schema", {})
                    )
                    for name, ids in known.items():
                        for branch in body_schema.get("properties", {}).get(name, {}).get("anyOf", []):
                            if branch.get("type") == "string" and ids:
                                branch["enum"] = ids
                    for parameter in operation.get("parameters", []):
                        if known.get(parameter["name"]):
                            parameter["schema"]["enum"] = known[parameter["name"]]
        return plain_schema()

    app.openapi = schema  # type: ignore[method-assign]
    files = {
        path.name: (path.read_bytes(), TYPES[path.suffix]) for path in sorted(PAGE.iterdir()) if path.suffix in TYPES
    }

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        content, kind = files["index.html"]
        return Response(content, media_type=kind)

    @app.get("/page/{name}", include_in_schema=False)
    async def page_file(name: str) -> Response:
        if name not in files:
            raise ApiError(404, f"no file named {name!r} belongs to the page")
        content, kind = files[name]
        return Response(content, media_type=kind, headers={"cache-control": "no-cache"})

    return app


ERROR_SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}

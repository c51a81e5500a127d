"""Rows to predictions: ``/v1/predict``."""

from __future__ import annotations

from typing import Any

from fastapi.responses import Response

from umekomi.models.base import Predictor
from umekomi.server.app import App
from umekomi.server.batching import Busy
from umekomi.server.embedding import refusal
from umekomi.server.errors import Answer, ApiError
from umekomi.server.schemas import PredictRequest
from umekomi.server.workers import Panic


async def predict(app: App, asked: PredictRequest) -> Response:
    """``POST /v1/predict``: of each row the likeliest class and every class's probability, or the number."""
    async with app.holder.using(asked.model) as held:
        model = held.opened
        if not isinstance(model, Predictor) or held.batcher is None:
            raise ApiError(400, f"model: {held.id} predicts nothing of rows: expected a predictor", param="model")
        rows = asked.rows
        try:
            predictions = await held.batcher.run(lambda: model.predict(rows), [str(row) for row in rows])
        except (Busy, Panic) as error:
            raise refusal(app, held, error) from None
    data: list[dict[str, Any]] = []
    for place, value in enumerate(predictions.tolist()):
        entry: dict[str, Any] = {"object": "prediction", "index": place}
        if model.classes:
            chances = dict(zip(model.classes, value, strict=True))
            entry |= {"prediction": max(chances, key=lambda name: chances[name]), "probabilities": chances}
        else:
            entry["prediction"] = value
        data.append(entry)
    return Answer({"object": "list", "model": held.id, "data": data})

"""What requests may hold. Fields that no one here reads are let through, as OpenAI's clients send some."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr, model_validator

MOST_INPUTS = 2048
"""Texts of one request, as OpenAI's."""

Text = Annotated[StrictStr, Field(max_length=4_000_000)]
Name = Annotated[StrictStr, Field(max_length=1000)]
# fail_fast: of a list of a million wrong things the first is enough
TokenIds = Annotated[
    list[Annotated[StrictInt, Field(ge=0, le=2**31 - 1)]], Field(min_length=1, max_length=1_000_000, fail_fast=True)
]
Truncation = Literal["warn", "error", "silent", "chunk"]


class ModelRequest(BaseModel):
    """What every request may say of the texts in it. A field that may be left out may be null: clients write that for
    what they leave out."""

    model_config = ConfigDict(extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _left_out(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        fields = cls.model_fields
        return {
            name: value
            for name, value in given.items()
            if value is not None or name not in fields or fields[name].is_required()
        }

    model: Name | None = Field(
        None, description="A model's id, as GET /v1/models lists them. May be left out where one is served."
    )
    truncation: Truncation = Field(
        "warn",
        description="Texts longer than the model reads: cut and listed (warn), an error, "
        "cut (silent), or read in windows (chunk).",
    )


class EmbeddingRequest(ModelRequest):
    """``POST /v1/embeddings``, OpenAI's fields and ours."""

    input: (
        Text
        | Annotated[list[Text], Field(min_length=1, max_length=MOST_INPUTS, fail_fast=True)]
        | TokenIds
        | Annotated[list[TokenIds], Field(min_length=1, max_length=MOST_INPUTS, fail_fast=True)]
    ) = Field(description="A text, up to 2,048 texts, or the same as arrays of the model's own token ids.")
    encoding_format: Literal["float", "base64"] = Field("float", description="base64: little-endian float32.")
    dimensions: Annotated[StrictInt, Field(ge=1, le=1_000_000)] | None = Field(
        None, description="Keep the first so many dimensions, brought to length one again."
    )
    user: StrictStr | None = None
    role: Name | None = Field(
        None, description="query, document, or a task of the model; the model's own prompt is put before the text."
    )
    input_type: Name | None = Field(
        None, description="Cohere's and NVIDIA's word for role: search_query, search_document, query, passage."
    )
    task: Name | None = Field(None, description="Jina's word for role: retrieval.query, retrieval.passage.")
    late_chunking: StrictBool = Field(
        False, description="Read all inputs as one text and give each its own part's vector (needs the torch engine)."
    )


class RerankRequest(ModelRequest):
    """``POST /v1/rerank``, in Cohere's and Jina's shape."""

    query: Annotated[Text, Field(min_length=1)]
    documents: Annotated[
        list[Text | dict[StrictStr, Any]], Field(min_length=1, max_length=MOST_INPUTS, fail_fast=True)
    ] = Field(description="Texts, or objects with a field text.")
    top_n: Annotated[StrictInt, Field(ge=1)] | None = None
    return_documents: StrictBool = False

    @model_validator(mode="after")
    def _texts(self) -> RerankRequest:
        for place, document in enumerate(self.documents):
            if isinstance(document, dict) and not isinstance(document.get("text"), str):
                raise ValueError(f"documents.{place}: expected a text, or an object with a field text")
        return self

    @property
    def texts(self) -> list[str]:
        """The documents' texts."""
        return [document["text"] if isinstance(document, dict) else document for document in self.documents]


class SimilarityRequest(ModelRequest):
    """``POST /v1/similarity``."""

    input: Annotated[list[Annotated[Text, Field(min_length=1)]], Field(min_length=1, max_length=512, fail_fast=True)]
    role: Name | None = None


Cell = StrictBool | StrictInt | StrictFloat | Text | None


class PredictRequest(ModelRequest):
    """``POST /v1/predict``."""

    rows: Annotated[
        list[Annotated[dict[Name, Cell], Field(max_length=10_000)]],
        Field(min_length=1, max_length=MOST_INPUTS, fail_fast=True),
    ] = Field(description="Objects with the columns that the model was trained on; null where there is no value.")


class SearchRequest(ModelRequest):
    """``POST /v1/search``."""

    query: (
        Annotated[Text, Field(min_length=1)]
        | Annotated[list[StrictFloat], Field(min_length=1, max_length=1_000_000, fail_fast=True)]
    ) = Field(description="A text, or a vector of the index's width.")
    index: Name | None = Field(
        None, description="An index's id, as GET /v1/indexes lists them. May be left out where one is served."
    )
    k: Annotated[StrictInt, Field(ge=1, le=1000)] = 10
    filter: StrictStr | None = Field(None, description='A condition on the payload: year > 2020 and lang == "ja".')
    mark: StrictBool = Field(False, description="Say where each hit's best sentence stands.")
    leg: Name | None = Field(None, description="Of a hybrid index: bm25 or vectors alone. Without it both answer.")
    rerank: Name | None = Field(
        None,
        description="A model's id: the first hits in the order that it would give them. Without it the one that the "
        "index names, if it does; none: none.",
    )
    depth: Annotated[StrictInt, Field(ge=1, le=1000)] | None = Field(
        None, description="How many hits are ordered so: k, or as the index says."
    )


ROLES = {
    "search_query": "query",
    "search_document": "document",
    "passage": "document",
    "retrieval.query": "query",
    "retrieval.passage": "document",
    "text-matching": "similarity",
}
"""What Cohere, NVIDIA and Jina call the roles."""

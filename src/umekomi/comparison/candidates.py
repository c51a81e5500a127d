"""What is compared: recipes and models, each also cut to fewer dimensions, with or without its prompts, stemmed, or
with a reranker behind it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from umekomi.errors import WrongUse, unknown_name
from umekomi.models.opening import file_of, folder_of, is_model_name, known_names
from umekomi.models.services.endpoints import check_maker, is_spec
from umekomi.parts.words import STEM
from umekomi.recipes import Recipe, get, names

DEPTH = 50
"""Documents of a query that a reranker orders anew where no number is said."""
WITH, WITHOUT, STEMMED = "+prompt", "-prompt", "+stem"


@dataclass(frozen=True)
class Candidate:
    """A recipe, a model's name, folder or hub id, or a service (``openai:MODEL@URL``).

    ``NAME@DIMENSIONS`` is cut; ``NAME+prompt`` and ``NAME-prompt`` are the same model with its prompts and without;
    ``bm25+stem`` and ``bm25+stem=german`` take words to their stems; ``FIRST>SCORER`` has the first fifty of FIRST
    ordered by SCORER, ``FIRST>200>SCORER`` the first two hundred; a service there is asked at its ``/rerank``.
    """

    spec: str
    name: str
    dimensions: int | None
    recipe: Recipe | None
    prompts: bool | None = None
    """With its prompts, without them, or (None) as it is, which is with them."""
    first: Candidate | None = None
    """What finds the documents that this one orders."""
    depth: int = DEPTH

    @staticmethod
    def parse(spec: str, paper_settings: bool) -> Candidate:
        if ">" in spec and folder_of(spec) is None:
            return _reranking(spec, paper_settings)
        name, width = _cut(spec)
        prompts = None
        for ending, wanted in ((WITH, True), (WITHOUT, False)):
            if name.endswith(ending) and folder_of(name) is None:
                name, prompts = name.removesuffix(ending), wanted
        stemmed = name.partition("=")[0].endswith(STEMMED) and folder_of(name) is None
        language = ""
        if stemmed:
            name, _, language = name.partition("=")
            name = name.removesuffix(STEMMED)
        recipe = None
        if name in names():
            kind = get(name)
            recipe = kind() if paper_settings else kind.small()
        elif not is_model_name(name):
            check_maker(name)
            raise unknown_name("model, recipe or folder", name, [*names(), *known_names()])
        if prompts is not None and recipe is not None:
            raise WrongUse(f"{spec!r}: expected a model before {spec[-7:]}, {name} is a recipe")
        if stemmed:
            if name not in ("bm25", "tfidf"):
                raise WrongUse(f"{spec!r}: expected bm25 or tfidf before {STEMMED}, found {name}")
            recipe = dataclasses.replace(recipe, tokenizer=STEM + (language or "english"))  # type: ignore[type-var, call-arg]
        return Candidate(spec, name, width, recipe, prompts)


def _cut(spec: str) -> tuple[str, int | None]:
    """(name, dimensions) of ``NAME@DIMENSIONS``; a service's address stands behind an @ too."""
    if "@" not in spec or folder_of(spec) is not None or file_of(spec) is not None:
        return spec, None
    name, _, width = spec.rpartition("@")
    if width.isdigit() and int(width):
        return name, int(width)
    if is_spec(spec):
        return spec, None
    raise WrongUse(f"{spec!r}: expected NAME@DIMENSIONS such as near2@64, found {width!r} after the @")


def _reranking(spec: str, paper_settings: bool) -> Candidate:
    parts = [part.strip() for part in spec.split(">")]
    depth = parts[1] if len(parts) == 3 else str(DEPTH)
    if len(parts) not in (2, 3) or not all(parts) or not (depth.isdigit() and int(depth) >= 2):
        raise WrongUse(
            f"{spec!r}: expected FIRST>SCORER or FIRST>DEPTH>SCORER such as 'minilm>100>my-cross-encoder', DEPTH 2 or "
            "more"
        )
    second = Candidate.parse(parts[-1], paper_settings)
    if second.dimensions is not None:
        raise WrongUse(f"{spec!r}: a scorer has no dimensions, found {second.dimensions} after the @")
    first = Candidate.parse(parts[0], paper_settings)
    return dataclasses.replace(second, spec=spec, first=first, depth=int(depth))

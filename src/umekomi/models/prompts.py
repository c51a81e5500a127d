"""A model's own prompts, and the same model without them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from umekomi.errors import WrongUse
from umekomi.models.base import Saved

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def prompts_of(model: Any) -> dict[str, Any]:
    """What a model is told of a role, by role: the text before each text, a service's fields; empty where it is told
    nothing."""
    if hasattr(model, "base"):
        return prompts_of(model.base)
    if hasattr(model, "endpoint"):
        return {
            role: model.endpoint.prompts.get(role) or model.endpoint.fields.get(role)
            for role in model.roles
            if role in model.endpoint.prompts or role in model.endpoint.fields
        }
    return {role: text for role, text in (_own(model) or {}).items() if text}


def _own(model: Any) -> dict[str, str] | None:
    """The prompts of a network, where it has such a table."""
    holder = model.model if hasattr(getattr(model, "model", None), "prompts") else model
    return getattr(holder, "prompts", None)


def set_prompts(model: SentenceTransformer, prompts: Mapping[str, str]) -> None:
    """Give a network these prompts by role and no others, in place; a text of no role gets none."""
    model.prompts, model.default_prompt_name = dict(prompts), None


def remove_prompts(model: Saved, name: str) -> None:
    """Take a model's prompts away, in place: it must be nobody else's. The error where it has none, since both rows
    would be the same."""
    if not prompts_of(model):
        raise WrongUse(f"{name} has no prompts: with and without them it is the same model")
    holder: Any = model
    while hasattr(holder, "base"):
        holder.stands_for = ""
        holder = holder.base
    holder.stands_for = ""
    if hasattr(holder, "endpoint"):
        alone = {role: more for role, more in holder.endpoint.fields.items() if not role}
        holder.endpoint = dataclasses.replace(holder.endpoint, prompts={}, fields=alone)
        holder.wire.endpoint = holder.endpoint
        return
    if hasattr(getattr(holder, "model", None), "prompts"):
        set_prompts(holder.model, {})
        return
    holder.prompts, holder.default_prompt = {}, ""

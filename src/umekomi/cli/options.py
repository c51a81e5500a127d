"""What several verbs have: options, and how what is written there is read."""

from __future__ import annotations

from typing import Annotated, Any

import typer

Encoding = Annotated[
    str | None,
    typer.Option("--encoding", help="The encoding of files that are not UTF-8: cp932, euc-jp, utf-16, latin-1 ..."),
]
Engine = Annotated[str, typer.Option(help="What runs a transformer: auto, onnx, openvino, openvino-bf16 or torch.")]


def value_of(text: str) -> Any:
    """A setting's value as written: a number, true or false, none, a list by commas, or text.

    >>> value_of("3"), value_of("1e-3"), value_of("true"), value_of("64,32"), value_of("mnr")
    (3, 0.001, True, (64, 32), 'mnr')
    """
    if "," in text:
        return tuple(value_of(part) for part in text.split(",") if part)
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False, "none": None}.get(text.lower(), text)


def settings_of(pairs: list[str] | None) -> dict[str, Any]:
    """``FIELD=VALUE`` pairs, as ``--set`` takes them."""
    from umekomi.errors import WrongUse

    chosen = {}
    for setting in pairs or []:
        name, equals, text = setting.partition("=")
        if not equals:
            raise WrongUse(f"--set: expected FIELD=VALUE, found {setting!r}")
        chosen[name] = value_of(text)
    return chosen

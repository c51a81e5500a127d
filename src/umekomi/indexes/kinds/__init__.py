"""How an index finds its candidates. A kind learns what it needs once (:meth:`Kind.learn`), derives arrays for every
segment beside the vectors themselves (:meth:`Kind.derive`), and searches a segment (:meth:`Kind.search`); scores are
always the exact similarity of the stored vectors.

``exact`` looks at every vector. ``binary`` scans one bit a dimension against a query cut to a few bits (after RaBitQ,
Gao & Long 2024, arXiv 2405.12497: random rotation, one factor a row that makes the estimate unbiased) and looks again
at the best. ``turbo`` leaves that scan to turbovec's codes of 2 or 4 bits (after TurboQuant, Zandieh et al. 2025, arXiv
2504.19874). ``funnel`` scans a prefix in 8 bits and narrows over longer prefixes (adaptive retrieval, Kusupati et al.
2022, section 4.3). ``hnsw`` walks usearch's graph (Malkov & Yashunin 2018). ``sparse`` adds up inverted lists. ``late``
scores token vectors by MaxSim (Khattab & Zaharia 2020), ``centroids`` those of the rows that lie at the centroids near
a query's (after PLAID, Santhanam et al. 2022, arXiv 2205.09707).
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from umekomi.errors import WrongUse, same_type, unknown_name
from umekomi.indexes.kinds.base import Kind
from umekomi.indexes.kinds.binary import Binary
from umekomi.indexes.kinds.centroids import Centroids
from umekomi.indexes.kinds.exact import Exact
from umekomi.indexes.kinds.funnel import Funnel
from umekomi.indexes.kinds.hnsw import Hnsw
from umekomi.indexes.kinds.late import Late
from umekomi.indexes.kinds.sparse import Sparse
from umekomi.indexes.kinds.turbo import Turbo

KINDS: dict[str, type[Kind]] = {
    kind.name: kind for kind in (Exact, Binary, Turbo, Funnel, Hnsw, Sparse, Late, Centroids)
}


TUNED = ("shortlist", "effort")
"""Settings that an index finds for the recall asked for; 0 leaves them to it."""


def plain(output: str) -> Kind:
    """The kind that looks at everything, for this kind of output."""
    return {"sparse": Sparse, "multi": Late}.get(output, Exact)()


def make_kind(name: str, settings: dict[str, Any]) -> Kind:
    """A kind by name with these settings; the error for a setting that it does not have, of another type, or below
    zero."""
    kind = kind_class(name)
    known = {each.name: each.default for each in fields(kind) if each.init}
    settings = {setting: tuple(value) if isinstance(value, list) else value for setting, value in settings.items()}
    for setting, value in settings.items():
        if setting not in known:
            raise (
                unknown_name(f"setting of index kind {name}", setting, known)
                if known
                else WrongUse(f"index kind {name} has no settings, found {setting!r}")
            )
        same_type(f"index kind {name}, {setting}", known[setting], value)
        for number in value if isinstance(value, tuple) else (value,):
            if not isinstance(number, int) or number < 0:
                raise WrongUse(f"index kind {name}, {setting}: expected whole numbers from 0 up, found {value!r}")
    return kind(**settings)


def kind_class(name: str) -> type[Kind]:
    """The kind of this name, or the error with the nearest ones."""
    if name not in KINDS:
        raise unknown_name("index kind", name, {*KINDS, "auto"})
    return KINDS[name]


__all__ = [
    "KINDS",
    "TUNED",
    "Binary",
    "Centroids",
    "Exact",
    "Funnel",
    "Hnsw",
    "Kind",
    "Late",
    "Sparse",
    "Turbo",
    "kind_class",
    "make_kind",
    "plain",
]

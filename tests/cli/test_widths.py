"""Tables come into the terminal's width with every figure whole; what has no room is said."""

from __future__ import annotations

import io
import re
import sys

import pytest

pytest.importorskip("httpx")

from rich.cells import cell_len

from umekomi.cli import show
from umekomi.cli.compare import print_leaderboard
from umekomi.cli.widths import NAME, fit, shortened
from umekomi.verbs.compare import compare

ALL = ["texts/s", "queries/s", "pairs/s", "task s", "ms/query", "p95", "bytes/item", "dim", "training s", "$/M texts"]
ALL += ["$/k queries", "$ here", "licence"]


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    """Hybrids, rerankers of this machine and of a service, money, addresses, groups."""
    import numpy as np
    from misbehaving import Misbehaving

    from umekomi.models.scorers import PairHeadScorer
    from umekomi.models.untrained import HashingEmbedder

    folder = tmp_path_factory.mktemp("wide")
    server = Misbehaving()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("UMEKOMI_CACHE", str(folder / "cache"))
        (folder / "umekomi-endpoints.toml").write_text(
            '[prices.text-embedding-3-small]\nusd = 2\n[prices."rerank-v3.5"]\nusd = 2\n'
        )
        hashing = HashingEmbedder.default()
        weights = np.concatenate([np.zeros(hashing.dimension), np.ones(hashing.dimension)])
        PairHeadScorer(hashing, weights).save("my-cross-encoder")
        hosted = f"openai:text-embedding-3-small@{server.url}/v1#delay=0.01"
        pairs = [
            {
                "anchor": f"which thing has mark {i}",
                "positive": f"A thing that bears mark {i}.",
                "line": "ab"[i % 2] * 40,
            }
            for i in range(40)
        ]
        names = ["bm25", "tfidf", "hashing", "hashing@64", hosted, f"{hosted}@4", "hashing>my-cross-encoder"]
        names += [f"hashing>20>openai:rerank-v3.5@{server.url}/v1#delay=0.01", "my-cross-encoder"]
        yield compare(names, pairs, out="c", hybrid=True, by="line", usd_per_hour=0.5)
    server.close()


def shown(comparison, capsys):
    """(lines of tables, the legend, the columns that are said to have no room)."""
    print_leaderboard(comparison)
    lines = capsys.readouterr().out.splitlines()
    ends = [number for number, line in enumerate(lines) if line.startswith("in full:")]
    tables = [line for line in lines if line.startswith(" ")]
    legend = {}
    for number in ends:
        for line, after in zip(lines[number + 1 :], lines[number + 2 :], strict=False):
            if not line.startswith("  "):
                break
            if not line.startswith("      "):
                short, _, full = line.strip().partition("  ")
                legend[short] = (full or after).strip()
            tables.remove(line)
    out = next((line for line in lines if line.startswith("no room here for ")), "")
    return tables, legend, re.sub("no room here for (.*): the report and --json have them", r"\1", out)


@pytest.mark.parametrize("wide", [60, 80, 100, 120, 200, 500])
def test_the_leaderboard_fits_and_every_figure_is_whole(comparison, wide, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(wide))
    tables, legend, left_out = shown(comparison, capsys)
    assert max(map(cell_len, tables)) <= wide
    names = {row.candidate for row in comparison.rows}
    parts = {}
    for line in tables:
        name = line.split("  ")[0].strip()
        parts.setdefault(legend.get(name, name), []).append(line)
    assert names <= set(parts), "each candidate by its name, or by one that the legend has"
    for row in comparison.rows:
        figure, text = comparison.intervals[row.candidate], " ".join(parts[row.candidate])
        assert f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]" in text
        gap = comparison.differences.get(row.candidate)
        assert gap is None or f"{gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]" in text
        if wide > 60 and row.bytes_per_item is not None:
            assert show.short(row.bytes_per_item) in text.split()
        for group in comparison.groups:
            own = group.intervals[row.candidate]
            assert f"{own.value:.3f} [{own.low:.3f}, {own.high:.3f}]" in text
    heads = " ".join(parts["candidate"])
    there = [name for name in ALL if f" {name} " in f" {heads} "]
    assert sorted(there + (left_out.split(", ") if left_out else [])) == sorted(ALL)
    assert bool(legend) == (wide < 500) and all(cell_len(short) <= wide for short in legend)
    assert wide < 500 or not left_out
    assert wide < 80 or {"ms/query", "bytes/item", "$/M texts"} <= set(there)
    if wide >= 120:
        assert {"$/k queries", "licence", "texts/s", "training s"} <= set(there)


def test_without_a_terminal_a_table_is_a_hundred_wide(comparison, capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(sys, "__stdout__", io.StringIO())
    tables, _, left_out = shown(comparison, capsys)
    assert 90 < max(map(cell_len, tables)) <= 100 and left_out


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_in_any_encoding(comparison, encoding, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, encoding=encoding, write_through=True, errors="backslashreplace")
    monkeypatch.setattr(sys, "stdout", stream)
    print_leaderboard(comparison)
    lines = buffer.getvalue().decode(encoding).splitlines()
    tables = [line for line in lines if "0." in line and line.startswith((" ", "|"))]
    assert len(tables) > 2 * len(comparison.rows) and all(len(line) <= 80 for line in tables if "://" not in line)
    assert not any("\\u" in line for line in tables)


def test_a_table_that_fits_is_one_and_names_are_whole():
    assert fit([10, 20, 20], [1, 2], 56) == (10, [[1, 2]])
    assert fit([40, 20, 20], [1, 2], 86) == (40, [[1, 2]])
    assert fit([40, 20, 20], [1, 2], 85) == (39, [[1, 2]])
    assert fit([40, 20, 20], [1, 2], 60) == (36, [[1], [2]])
    # the most important ones first, in their order from left to right
    assert fit([40, 9, 9, 9], [3, 1, 2], 2 + NAME + 22) == (NAME, [[1, 3], [2]])
    assert fit([40, 9, 9, 9], [3, 1, 2], 2 + NAME + 22, most=1) == (NAME, [[1, 3]])
    assert fit([40, 9, 9], [1, 2], 40, names=20) == (20, [[1], [2]])
    assert fit([5], [], 80) == (5, [[]])


@pytest.mark.parametrize("limit", [8, 12, 20, 28, 40])
def test_short_names_are_short_and_differ(limit):
    names = [
        f"openai:bge-m3@http://localhost:{port}/v1#query=q: {end}" for port in range(8000, 8012) for end in ("", "@64")
    ]
    names += [f"bm25+runs/of/the/year/埋め込みのモデル-{n}:tuned/512" for n in range(12)]
    names += ["minilm", "minilm>50>runs/of/the/year/my-cross-encoder", "a" * 50, "a" * 51, "openai:bge-m3@…"]
    short = shortened(names, [limit] * len(names))
    assert all(cell_len(text) <= limit for text in short) and len(set(short)) == len(names)
    assert all(text == name for text, name in zip(short, names, strict=True) if cell_len(name) <= limit)


def test_what_tells_names_apart_stays():
    names = ["runs/2026/near2@64/512", "bm25+user/name:tuned", "openai:m@http://h:1/v1", "openai:m@http://h:2/v1/512"]
    assert shortened(names, [15, 17, 14, 14]) == ["…/near2@64/512", "bm25+…/name:tuned", "openai:m@…", "openai:m@…/512"]
    assert shortened([names[2], "openai:m@http://h:2/v1"], [13, 13]) == ["openai:m@…", "openai:m@…2"]
    assert shortened(["minilm>20>openai:m@http://h:1/v1"], [18], "...") == ["minilm>2...i:m@..."]

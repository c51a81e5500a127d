"""The password of a database's address: nothing that a verb prints, in success or failure, shows it."""

from __future__ import annotations

import pytest
from indexes import postgres

from umekomi.cli.main import main
from umekomi.errors import UmekomiError, WrongUse, without_passwords
from umekomi.indexes.adapters import PostgresIndex, open_database

SECRET = "hun"
"""Of the passwords below: also a part of one is too much."""
ADDRESSES = (
    "postgresql://me:hunter2@127.0.0.1:1/shop/texts",
    "postgresql://127.0.0.1:1/shop/texts?user=me&password=hunter2",
    "postgresql://127.0.0.1:1/shop/texts?sslmode=disable&%70assword=hunter2&sslpassword=hunter2",
    "postgresql://me:hun/ter2@127.0.0.1:1/shop/texts",
    "postgresql://me:hun?ter2@127.0.0.1:1/shop/texts",
    "postgresql://me:hun#ter2@127.0.0.1:1/shop/texts",
    "postgresql://me:hun@hun/ter2@127.0.0.1:1/shop/texts",
    "postgresql://me:hun ter2@127.0.0.1:1/shop/texts",
    "postgresql://me:hun%zz@127.0.0.1:1/shop/texts",
    "postgresql://me:hunter2@[127.0.0.1/shop/texts",
    "postgresql://me:hunter2@127.0.0.1:port/shop/texts",
    f"postgresql://me:{'hunter2' * 20}@127.0.0.1:port/shop/texts",
    "postgresql://me:hunter2@127.0.0.1:1/texts",
    "postgresql://me:hunter2@127.0.0.1:1/shop/te\nxts",
    "qdrant://me:hunter2@127.0.0.1:1/texts",
    "qdrant+edge://me:hunter2@127.0.0.1/texts",
    "lance+s3://me:hunter2@bucket/texts",
    "mysql://me:hunter2@127.0.0.1:1/shop/texts",
)


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_verb_that_fails_shows_a_password(tmp_path, capsys, monkeypatch, address):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    texts = tmp_path / "texts.csv"
    texts.write_text("text\nred apples\n")
    if not address.startswith("lance"):  # which would look for the bucket
        for words in (
            ["index", "hashing", str(texts), "--out", address],
            ["index", address, "--out", str(tmp_path / "own")],
            ["index", "--out", address, "--compact"],
            ["search", address, "apples"],
            ["serve", "--index", address],
        ):
            assert main(words) in (1, 2)
    for words in (
        ["index", "hashing", address, "--out", str(tmp_path / "own")],
        ["index", "bm25+hashing", str(texts), "--out", address],
        ["index", "hashing", str(texts), "--out", address, "--kind", "binary"],
        ["search", "hashing", "apples", "--in", address],
        ["search", address, "apples", "--depth", "0"],
        ["encode", "hashing", address, "--out", str(tmp_path / "v.parquet")],
        ["encode", address, str(texts), "--out", str(tmp_path / "v.parquet")],
        ["compare", "bm25", "--data", address, "--out", str(tmp_path / "c")],
        ["info", address],
        ["search", address, "apples", "pears"],
    ):
        assert main(words) in (1, 2), words
    said = "".join(capsys.readouterr())
    assert said.count("\n") >= 10 and SECRET not in said


def test_what_a_verb_reports_shows_none_either(tmp_path, capsys):
    texts = tmp_path / "texts.csv"
    texts.write_text("text\nred apples\ngreen pears\n")
    table = f"{tmp_path.name} shown"
    postgres.execute(f'DROP TABLE IF EXISTS "{table}"')
    address = postgres.with_table(table)
    assert "://postgres:@" in address
    address = (
        address.replace("://postgres:@", "://postgres:hunter2@") + "&password=hunter2"
    )  # which trust never asks for
    for words, status in (
        (["index", "hashing", str(texts), "--out", address, "--add"], 2),
        (["index", "hashing", str(texts), "--out", address], 0),
        (["index", "hashing", str(texts), "--out", address], 2),
        (["index", "--out", address, "--compact", "--check", "--json"], 0),
        (["index", "--out", address, "--verify"], 2),
        (["index", address, "--out", str(tmp_path / "own")], 0),
        (["index", address, "--out", str(tmp_path / "own"), "--add"], 0),
        (["search", address, "apples"], 0),
        (["search", address, "apples", "--filter", "nothing > 3"], 2),
        (["search", address, "apples", "--in", str(texts)], 2),
        (["search", address, "apples", "--leg", "bm25"], 2),
    ):
        assert main(words) == status, (words, capsys.readouterr())
    said = "".join(capsys.readouterr())
    assert f"postgresql://postgres@/postgres/{table.replace(' ', '%20')}" in said and SECRET not in said


@pytest.mark.parametrize(
    "given",
    ["password=hun hunter2", "postgresql://me:hun%zz@127.0.0.1:1/d", "postgresql://me:hun/ter2@127.0.0.1:1/d"],
)
def test_what_libpq_cannot_read_is_not_repeated(given):
    pytest.importorskip("psycopg")
    with pytest.raises(WrongUse, match="libpq does not read the address: expected postgresql://USER") as caught:
        PostgresIndex(given)
    assert SECRET not in str(caught.value)


def test_addresses_without_a_password_stay_as_they_are():
    for text in (
        "http://127.0.0.1:8080",
        "at http://127.0.0.1:8080 (schema at /openapi.json)",
        "postgresql://[::1]:5432/shop/texts: there is no such table",
        "postgresql://db:5432/shop/texts?user=me@corp&sslmode=require",
        "lance:///a:b/c@d, table 'x'",
        "expected postgresql://HOST/DATABASE/TABLE, found no database",
        "C:/Users/me: no such file",
    ):
        assert without_passwords(text) == text
    for address in ("postgresql://db:5432/shop/te@xts", "postgresql://db:x/shop/texts", "postgresql://[db/shop/texts"):
        with pytest.raises(UmekomiError, match="is no address: expected SCHEME://USER"):
            open_database(address)

from __future__ import annotations

import json

import pytest


def rows(path, count=60):
    path.write_text(
        "anchor,positive\n"
        + "".join(f"question {i} on topic {i % 7},answer {i} for topic {i % 7} with words\n" for i in range(count))
    )
    return str(path)


def test_errors_are_one_line_and_have_their_status(command, tmp_path):
    (tmp_path / "bad.csv").write_text("anchor,positive\na\n")
    for words, status, message in (
        (["compare", "bm52", "--data", "pydocs"], 2, "no model, recipe or folder named 'bm52'; the nearest: bm25"),
        (
            ["compare", "bm25", "--data", str(tmp_path / "bad.csv")],
            1,
            "line 2: expected 2 fields (anchor, positive), found 1",
        ),
        (["compare", "bm25"], 2, "Missing option"),
        (["trian"], 2, "No such command 'trian'"),
        (["encode", "random", str(tmp_path / "no.jsonl"), "--out", "v.npy"], 2, "no such file"),
        (
            ["train", "bm25", "--data", str(tmp_path / "bad.csv"), "--out", str(tmp_path / "m"), "--set", "k1"],
            2,
            "expected FIELD=VALUE",
        ),
        (["info", "nothing-like-it"], 2, "no recipe, model, dataset or folder"),
    ):
        found, out, error = command(*words, cwd=tmp_path)
        assert found == status, (words, error)
        assert message in error
        assert error.count("\n") == 1, error
        assert out == ""


def test_debug_shows_where(command, tmp_path):
    _, _, error = command("--debug", "compare", "bm52", "--data", "pydocs", cwd=tmp_path)
    assert "Traceback" in error


def test_compare_prints_a_leaderboard_and_json(command, tmp_path):
    data = rows(tmp_path / "pairs.csv")
    status, out, error = command("compare", "bm25", "random", "--data", data, cwd=tmp_path)
    assert status == 0, error
    for word in ("ndcg@10", "bytes/item", "Use bm25", "report:", "next:"):
        assert word in out
    status, out, _ = command("compare", "bm25", "random", "--data", data, "--json", cwd=tmp_path)
    found = json.loads(out)
    assert found["winner"] == "bm25"
    assert len(list((tmp_path / "umekomi-compare").glob("*/report.html"))) == 1


def test_train_evaluate_encode_search_convert_mine_one_after_the_other(command, tmp_path):
    data = rows(tmp_path / "pairs.csv")
    steps = (
        ["train", "lsa", "--data", data, "--out", "m", "--set", "dimensions=8"],
        ["info", "m"],
        ["evaluate", "m", "--task", "retrieval", "--data", data],
        ["mine", "m", "--data", data, "--out", "n.jsonl", "--negatives", "1", "--relative-margin", "0"],
        ["convert", "m", "--out", "m.txt"],
    )
    for words in steps:
        status, out, error = command(*words, cwd=tmp_path)
        assert status == 0, (words, error)
        assert out
    (tmp_path / "t.txt").write_text("answer 1 for topic 1\nquestion 5 on words\n")
    status, out, error = command("encode", "m", "t.txt", "--out", "v.parquet", cwd=tmp_path)
    assert status == 0, error
    assert "2 texts in 8 dimensions" in out
    status, out, error = command(
        "search", "m", "--in", "v.parquet", "question 5 on words", "-k", "1", "--json", cwd=tmp_path
    )
    assert status == 0, error
    assert "question" in json.loads(out)[0]["text"]


@pytest.mark.parametrize(
    "verb", ["recipes", "compare", "train", "encode", "evaluate", "search", "mine", "convert", "info", "reproduce"]
)
def test_every_verb_has_help(command, verb):
    status, out, _ = command(verb, "--help")
    assert status == 0
    assert f"umekomi {verb}" in out


def test_recipes_info_and_version(command):
    found = json.loads(command("recipes", "--json")[1])
    assert {"bm25", "tfidf", "near2"} <= {row["name"] for row in found}
    assert json.loads(command("info", "near2", "--json")[1])["install"] == "umekomi[neural]"
    assert "retrieval" in command("info", "pydocs")[1]
    assert "CC-BY-NC-4.0" in command("info", "nv-embed-v2")[1]
    assert command("--version")[1].startswith("umekomi 0.")
    assert command()[1].startswith("Usage")


def test_values_of_settings():
    from umekomi.cli.options import value_of

    assert value_of("64,32") == (64, 32)
    assert value_of("none") is None
    assert value_of("0.5") == 0.5


def test_control_c_in_the_middle_keeps_what_is_finished(command, tmp_path):
    import signal
    import time

    import zygote

    source, out = tmp_path / "t.txt", tmp_path / "v.npy"
    source.write_text("".join(f"a line of text number {i}\n" for i in range(120_000)))
    process = zygote.Process(module="umekomi", words=["encode", "hashing", source, "--out", out])
    log = tmp_path / "v.npy.shards" / "done.jsonl"
    for _ in range(600):
        time.sleep(0.05)
        if log.exists() and log.read_text().count("\n") >= 2:
            break
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1, error
    assert error.strip().split("\n")[-1].startswith("umekomi: interrupted; what was finished is kept")
    assert error.strip().endswith("with --resume")
    assert "Traceback" not in error
    assert not out.exists()
    finished = log.read_text().count("\n")
    status, text, error = command("encode", "hashing", str(source), "--out", str(out), "--resume", "--json")
    assert status == 0, error
    assert json.loads(text)["kept"] == finished * 8192
    assert not log.exists()


def test_control_c_where_nothing_is_kept_says_no_more(monkeypatch, capsys):
    from umekomi.cli.main import main

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("umekomi.verbs.info.info", interrupt)
    assert main(["info", "bm25"]) == 1
    assert capsys.readouterr().err == "umekomi: interrupted\n"


def test_what_to_type_behind_a_training(tmp_path):
    from umekomi.verbs.train import next_command

    for name in ("weak.jsonl", "strong.jsonl", "other.jsonl"):
        (tmp_path / name).write_text('{"anchor": "a", "positive": "b"}\n')
    for name in ("train", "test"):
        (tmp_path / "held").mkdir(exist_ok=True)
        (tmp_path / "held" / f"{name}.jsonl").write_text('{"anchor": "a", "positive": "b"}\n')
    weak, strong, other, held = (str(tmp_path / name) for name in ("weak.jsonl", "strong.jsonl", "other.jsonl", "held"))
    for data, place in (
        (weak, weak),
        ({"weak": weak, "strong": strong}, strong),
        ({"weak": weak, "weak titles": strong}, weak),
        ({"a": other, "weak": weak, "b": strong}, other),
        ({"weak": held, "a": strong, "b": other}, strong),
        ({"weak": weak, "a": strong, "b": held}, held),
    ):
        assert next_command("m", data) == f"umekomi evaluate m --task {place}", data
    assert next_command("a model", strong, "cp932") == f"umekomi evaluate 'a model' --task {strong} --encoding cp932"

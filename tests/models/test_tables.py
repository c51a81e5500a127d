import numpy as np
import pytest

from umekomi.errors import DataError, WrongUse
from umekomi.models import load, word2vec
from umekomi.models.entity import EntityEmbedder
from umekomi.verbs.convert import convert

RNG = np.random.default_rng(0)
TABLE = EntityEmbedder(["king", "queen", "man", "woman", "埋め込み"], RNG.normal(size=(5, 6)).astype(np.float32))


@pytest.mark.parametrize("name", ["t.txt", "t.bin"])
def test_word2vec_there_and_back_bit_for_bit(name, tmp_path):
    word2vec.write(TABLE, tmp_path / name)
    back = word2vec.read(tmp_path / name)
    assert back.names == TABLE.names
    assert (back.vectors == TABLE.vectors).all()


@pytest.mark.parametrize("name", ["t.txt", "t.bin"])
def test_gensim_reads_ours_and_we_read_gensims(name, tmp_path):
    gensim = pytest.importorskip("gensim")
    word2vec.write(TABLE, tmp_path / name)
    there = gensim.models.KeyedVectors.load_word2vec_format(str(tmp_path / name), binary=name.endswith(".bin"))
    assert there.index_to_key == TABLE.names
    assert there.vectors == pytest.approx(TABLE.vectors, abs=1e-6)
    there.save_word2vec_format(str(tmp_path / f"g{name}"), binary=name.endswith(".bin"))
    assert word2vec.read(tmp_path / f"g{name}").vectors == pytest.approx(TABLE.vectors, abs=1e-6)
    assert [found for found, _ in TABLE.most_similar("king", k=3)] == [
        found for found, _ in there.most_similar("king", topn=3)
    ]
    want = there.most_similar(positive=["king", "woman"], negative=["man"], topn=1)[0]
    found = TABLE.most_similar(["king", "woman"], ["man"], k=1)[0]
    assert found[0] == want[0]


def test_broken_word2vec_files(tmp_path):
    (tmp_path / "a.txt").write_text("2 3\na 1 2 3\nb 1 2\n")
    with pytest.raises(DataError, match=r"a.txt, line 3: expected a name and 3 numbers, found 2"):
        word2vec.read(tmp_path / "a.txt")
    (tmp_path / "b.txt").write_text("2 3\na 1 2 3\n")
    with pytest.raises(DataError, match="expected 2 vectors, found 1"):
        word2vec.read(tmp_path / "b.txt")
    (tmp_path / "c.bin").write_bytes(b"2 3\na " + np.ones(3, np.float32).tobytes() + b"\nb 12")
    with pytest.raises(DataError, match="ends in vector 2"):
        word2vec.read(tmp_path / "c.bin")
    with pytest.raises(DataError, match="separates by spaces: the name 'a b'"):
        word2vec.write(EntityEmbedder(["a b"], np.ones((1, 2), np.float32)), tmp_path / "d.txt")
    assert not (tmp_path / "d.txt").exists()


def test_glove_files_without_a_header(tmp_path):
    (tmp_path / "g.txt").write_text("the 0.1 0.2\ncat 0.3 0.4\n")
    assert word2vec.read(tmp_path / "g.txt").names == ["the", "cat"]


def test_unknown_entities(capsys):
    with pytest.raises(WrongUse, match="no entity of entities named 'kink'; the nearest: king"):
        TABLE.encode(["king", "kink"])
    skip = EntityEmbedder(TABLE.names, TABLE.vectors, unknown="skip")
    assert skip.encode(["king", "nobody", "man"]).shape == (2, 6)
    zero = EntityEmbedder(TABLE.names, TABLE.vectors, unknown="zero")
    found = zero.encode(["nobody", "man"])
    assert (found[0] == 0).all()
    assert (found[1] == TABLE["man"]).all()
    assert capsys.readouterr().err.count("1 of") == 2


def test_bad_tables():
    with pytest.raises(DataError, match="2 names and an array of shape"):
        EntityEmbedder(["a", "b"], np.ones((3, 2)))
    with pytest.raises(DataError, match="'a' twice"):
        EntityEmbedder(["a", "a"], np.ones((2, 2)))
    with pytest.raises(DataError, match=r"NaN or infinity in row 2 \('b'\)"):
        EntityEmbedder(["a", "b"], np.array([[1, 2], [np.nan, 1]]))
    with pytest.raises(WrongUse, match="poincare"):
        EntityEmbedder(["a"], np.ones((1, 2)), metric="poincar")


def test_sums_mean_nothing_in_the_ball():
    table = EntityEmbedder(["a", "b", "c"], RNG.uniform(-0.3, 0.3, (3, 2)), metric="poincare")
    assert [name for name, _ in table.most_similar("a")] and "a" not in [name for name, _ in table.most_similar("a")]
    with pytest.raises(WrongUse, match="sums of its vectors mean nothing"):
        table.most_similar(["a", "b"])


def test_convert_between_all_formats(minilm, tmp_path):
    word2vec.write(TABLE, tmp_path / "t.vec")
    convert(tmp_path / "t.vec", tmp_path / "folder")
    assert (load(tmp_path / "folder").vectors == TABLE.vectors).all()
    convert(tmp_path / "folder", tmp_path / "t.bin")
    assert (word2vec.read(tmp_path / "t.bin").vectors == TABLE.vectors).all()
    convert(minilm, tmp_path / "st", "sentence-transformers")
    assert not (tmp_path / "st" / "umekomi.json").exists()
    assert load(tmp_path / "st").kind == "text"
    with pytest.raises(WrongUse, match="expected one of word2vec"):
        convert(minilm, tmp_path / "x", "pickle")
    with pytest.raises(WrongUse, match="expected a table of entities or a static embedder, found kind text"):
        convert(minilm, tmp_path / "x.txt")


def test_onnx_gives_the_same_vectors_without_torch(minilm, tmp_path, fresh):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    texts = ["a cat", "word " * 300, "梅雨", "Bond yields rose as investors sold shares."]
    convert(minilm, tmp_path / "onnx", "onnx")
    want = minilm.encode(texts)
    np.save(tmp_path / "want.npy", want)
    out = fresh(
        f"import sys, numpy as np, umekomi\nm = umekomi.load({str(tmp_path / 'onnx')!r})\nv = m.encode({texts!r}, "
        "batch_size=3)\n"
        f"print(float((v * np.load({str(tmp_path / 'want.npy')!r})).sum(1).min()), 'torch' in sys.modules, "
        f"m.truncated({texts!r}).tolist())"
    )
    worst, torch, cut = out.split(maxsplit=2)
    assert float(worst) > 0.9999
    assert torch == "False"
    assert cut.strip() == "[False, True, False, False]"


def test_words_with_spaces_and_other_ways_to_write_a_line(tmp_path):
    """The last numbers are the vector: GloVe 840B has words such as ". . ." and "at name@domain.com"."""
    lines = "the 0.1 0.2 0.3\n. . . 0.4 0.5 0.6\nat name@domain.com 1 2 3\n7 up 1 1 1\n2008 7 8 9\n\u00a0 1 0 0\n"
    (tmp_path / "g.txt").write_text(lines, encoding="utf-8")
    found = word2vec.read(tmp_path / "g.txt")
    assert found.names == ["the", ". . .", "at name@domain.com", "7 up", "2008", "\u00a0"]
    assert found["7 up"].tolist() == [1, 1, 1]
    (tmp_path / "h.vec").write_text("6 3\n" + lines, encoding="utf-8")
    assert word2vec.read(tmp_path / "h.vec").names == found.names
    (tmp_path / "t.txt").write_text("the\t0.1\t0.2 \r\ncat\t0.3\t0.4\r\n")
    assert word2vec.read(tmp_path / "t.txt").names == ["the", "cat"]
    (tmp_path / "cut.txt").write_text("the 0.1 0.2 0.3\ncat 0.3 0.4\n")
    with pytest.raises(DataError, match=r"cut.txt, line 2: expected a name and 3 numbers, found 2"):
        word2vec.read(tmp_path / "cut.txt")
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(DataError, match=r"empty.txt, line 1: expected a name and its numbers"):
        word2vec.read(tmp_path / "empty.txt")
    (tmp_path / "nan.txt").write_text("the 0.1 nan\ncat 0.3 0.4\n")
    with pytest.raises(DataError, match=r"nan.txt: nan: expected finite vectors.*row 1 \('the'\)"):
        word2vec.read(tmp_path / "nan.txt")


@pytest.mark.parametrize("ending", [".txt", ".bin"])
def test_words_that_are_no_utf8_keep_their_bytes_and_are_told(ending, tmp_path, capsys):
    path = tmp_path / f"w{ending}"
    vector = b" 1 2\n" if ending == ".txt" else b" " + np.ones(2, np.float32).tobytes() + b"\n"
    path.write_bytes(b"3 2\n" + b"caf\xe9" + vector + b"caf\xe8" + vector + "café".encode() + vector)
    assert word2vec.read(path).names == ["caf\\xe9", "caf\\xe8", "café"]
    assert "note: 2 words of" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["t.vec.gz", "t.bin.gz", "t.txt.bz2", "t.bin.xz", "t.vec.zip"])
def test_packed_files(name, tmp_path):
    import bz2
    import lzma
    import zipfile

    plain = tmp_path / name.rpartition(".")[0]
    word2vec.write(TABLE, plain)
    if name.endswith(".zip"):
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(plain, plain.name)
    elif name.endswith(".gz"):
        word2vec.write(TABLE, tmp_path / name)
    else:
        (tmp_path / name).write_bytes({"bz2": bz2, "xz": lzma}[name[-3:].lstrip(".")].compress(plain.read_bytes()))
    back = word2vec.read(tmp_path / name)
    assert back.names == TABLE.names and back.name == "t"
    assert (back.vectors == TABLE.vectors).all()
    convert(tmp_path / name, tmp_path / "m")
    assert (load(tmp_path / "m").vectors == TABLE.vectors).all()
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=str(tmp_path / name)):
        word2vec.read(tmp_path / name)


def test_packed_archives_of_several_files_and_other_formats_are_named(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "glove.6B.txt.zip", "w") as archive:
        archive.writestr("a.txt", "a 1 2")
        archive.writestr("b.txt", "a 1 2")
    with pytest.raises(WrongUse, match="expected one file in the archive, found a.txt, b.txt"):
        word2vec.read(tmp_path / "glove.6B.txt.zip")
    (tmp_path / "cc.bin").write_bytes((793712314).to_bytes(4, "little") + b"\0" * 50)
    with pytest.raises(DataError, match="expected a model of fastText, version 11 or 12"):
        word2vec.read(tmp_path / "cc.bin")
    (tmp_path / "huge.bin").write_bytes(b"999999999999 1000\na ")
    with pytest.raises(DataError, match="ends in vector 1"):
        word2vec.read(tmp_path / "huge.bin")
    with pytest.raises(WrongUse, match="no such file"):
        convert(tmp_path / "none.vec.gz", tmp_path / "m")
    with pytest.raises(WrongUse, match="or one of these and .gz"):
        word2vec.write(TABLE, tmp_path / "t.vec.xz")


def test_the_compiled_reader_gives_the_numbers_that_python_gives(tmp_path):
    """Every way to write a number, and words that hold spaces or numbers, in a file that is long enough for it."""
    generator = np.random.default_rng(0)
    ways = ("%.4f", "%.6g", "%.9g", "%.17g", "%+.3e", "%d", "%.1f", "%r", "%.25f", "%e")
    lines = []
    for row in range(5000):
        values = generator.normal(size=3) * 10.0 ** generator.integers(-30, 20)
        written = " ".join(str(ways[generator.integers(len(ways))] % float(value)) for value in values)
        lines.append(f"{'. . ' if row % 7 == 0 else ''}w{row} {written}{' ' if row % 5 == 0 else ''}")
    (tmp_path / "t.txt").write_text("\n".join(lines))
    table = word2vec.read(tmp_path / "t.txt")
    want = np.array([[float(value) for value in line.split()[-3:]] for line in lines]).astype(np.float32)
    assert np.array_equal(table.vectors, want)
    assert table.names == [" ".join(line.split()[:-3]) for line in lines]
    (tmp_path / "t.txt").write_text("\n".join([*lines[:4000], "cut 1 2", *lines[4000:]]))
    with pytest.raises(DataError, match=r"t.txt, line 4001: expected a name and 3 numbers, found 2 numbers"):
        word2vec.read(tmp_path / "t.txt")
    (tmp_path / "t.txt").write_text("\n".join(["4999 3", *lines]))
    with pytest.raises(DataError, match="expected 4999 vectors, found 5000"):
        word2vec.read(tmp_path / "t.txt")
    (tmp_path / "t.txt").write_text("\n".join([*lines[:4500], "bad 1 2 x", *lines[4500:]]))
    with pytest.raises(DataError, match=r"line 4501: expected 3 numbers, found '1 2 x'"):
        word2vec.read(tmp_path / "t.txt")


@pytest.mark.parametrize("ending", [".txt", ".bin"])
def test_some_words_only_and_what_stands_there_twice(ending, tmp_path, capsys):
    word2vec.write(TABLE, tmp_path / f"t{ending}")
    some = word2vec.read(tmp_path / f"t{ending}", only=["woman", "king", "埋め込み", "none"])
    assert some.names == ["king", "woman", "埋め込み"]
    assert (some.vectors == TABLE.vectors[[0, 3, 4]]).all()
    assert word2vec.read(tmp_path / f"t{ending}", most=2).names == ["king", "queen"]
    vector = b" 1 2\n" if ending == ".txt" else b" " + np.ones(2, np.float32).tobytes() + b"\n"
    (tmp_path / f"w{ending}").write_bytes(b"3 2\na" + vector + b"b" + vector.replace(b"1", b"3") + b"a" + vector)
    assert word2vec.read(tmp_path / f"w{ending}").names == ["a", "b"]
    assert "note: 1 of 3 lines of" in capsys.readouterr().err
    (tmp_path / "s.txt").write_text("a b 1 2\na 3 4\nc 5 6\n")
    assert word2vec.read(tmp_path / "s.txt", only=["a b"]).names == ["a b"]
    assert word2vec.read(tmp_path / "s.txt", only=["a"])["a"].tolist() == [3, 4]


def test_a_file_of_word_vectors_opens_by_its_name(tmp_path):
    word2vec.write(TABLE, tmp_path / "t.vec")
    there = load(tmp_path / "t.vec")
    assert there.kind == "entity" and (there.vectors == TABLE.vectors).all()
    assert load(str(tmp_path / "t.vec")).names == TABLE.names


@pytest.mark.parametrize("packed", [".gz", ".bz2", ".xz", ".zip"])
def test_what_a_packed_file_of_vectors_holds_has_an_end(tmp_path, monkeypatch, packed):
    import bz2
    import gzip
    import lzma
    import zipfile

    from umekomi.data import lines

    monkeypatch.setattr(lines, "UNPACKED", 1 << 20)
    path = tmp_path / f"a.txt{packed}"
    data = b"word 0.5 0.25\n" + b"\n" * (4 << 20)
    if packed == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.txt", data)
    else:
        path.write_bytes({".gz": gzip, ".bz2": bz2, ".xz": lzma}[packed].compress(data))
    with pytest.raises(DataError, match=r"expected at most 1,048,576 bytes in a packed file of [\d,]+ \("):
        word2vec.read(path)

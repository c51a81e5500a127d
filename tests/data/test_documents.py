"""Documents as people have them: what is read of each kind, with pages and headings; and the ones that cannot be."""

import zipfile

import pytest

pytest.importorskip("markitdown")
pytest.importorskip("pypdfium2")

from umekomi.data import load
from umekomi.data.readers.documents import read_document
from umekomi.errors import DataError

LINES = ["The first page tells of otters.", "The second page tells of herons.", ""]


def pdf(path, pages, extra=b"", trailer=b""):
    """A PDF of one line a page, written by hand: its objects, their table, its end."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b""]
    kids = []
    for text in pages:
        number = len(objects) + 1
        kids.append(f"{number} 0 R")
        stream = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET".encode() if text else b""
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {number + 1} 0 R /Resources << /Font << /F1 "
            "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>".encode(),
            b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        ]
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>".encode()
    if extra:
        objects.append(extra)
    out, offsets = bytearray(b"%PDF-1.4\n"), []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<< /Size %d /Root 1 0 R %s >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, trailer, start)
    path.write_bytes(bytes(out))


def docx(path):
    body = "".join(
        f'<w:p><w:pPr><w:pStyle w:val="{style}"/></w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>' if style
        else f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"
        for style, text in (("Heading1", "On otters"), ("", "They swim at night."), ("Heading1", "On herons"), ("", "They stand."))
    )  # fmt: skip
    space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "[Content_Types].xml",
            '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType="application/xml"/><Override PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>',
        )
        archive.writestr(
            "_rels/.rels",
            '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/></Relationships>',
        )
        archive.writestr(
            "word/document.xml",
            f'<?xml version="1.0"?><w:document xmlns:w="{space}"><w:body>{body}</w:body></w:document>',
        )
        archive.writestr(
            "word/styles.xml",
            f'<?xml version="1.0"?><w:styles xmlns:w="{space}"><w:style w:type="paragraph" w:styleId="Heading1"><w:name w:val="heading 1"/></w:style></w:styles>',
        )
        archive.writestr(
            "word/_rels/document.xml.rels",
            '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="s1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/styles" Target="styles.xml"/></Relationships>',
        )


def pptx(path):
    from pptx import Presentation

    slides = Presentation()
    for title, text in (("Otters", "They swim."), ("Herons", "They stand.")):
        slide = slides.slides.add_slide(slides.slide_layouts[1])
        slide.shapes.title.text, slide.placeholders[1].text = title, text
    slides.save(str(path))


def epub(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr(
            "META-INF/container.xml",
            '<?xml version="1.0"?><container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile full-path="a.opf" media-type="application/oebps-package+xml"/></rootfiles></container>',
        )
        archive.writestr(
            "a.opf",
            '<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="2.0"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>Beasts</dc:title></metadata><manifest><item id="c1" href="c1.xhtml" media-type="application/xhtml+xml"/></manifest><spine><itemref idref="c1"/></spine></package>',
        )
        archive.writestr("c1.xhtml", "<html><body><h1>On otters</h1><p>They swim at night.</p></body></html>")


@pytest.fixture
def shelf(tmp_path):
    folder = tmp_path / "shelf"
    folder.mkdir()
    pdf(folder / "a.pdf", LINES)
    docx(folder / "b.docx")
    (folder / "c.html").write_text(
        "<html><head><script>var x = 1;</script></head><body><h1>On <i>otters</i></h1><p>They <a href='http://x'>swim</a>.</p>"
        "<h2>At night</h2><p>埋め込み。</p></body></html>"
    )
    (folder / "d.md").write_text("# Plain\n\nMarkdown stays as it is.")
    epub(folder / "e.epub")
    return folder


def test_pages_and_headings_are_columns(shelf, capsys):
    rows = load(str(shelf))["all"].to_pylist()
    by_file = {}
    for row in rows:
        by_file.setdefault(row["file"], []).append(row)
    assert [(row["page"], row["text"]) for row in by_file["a.pdf"]] == [(1, LINES[0]), (2, LINES[1])]
    assert "1 pages or sections hold no text" in capsys.readouterr().err
    assert [row["heading"] for row in by_file["b.docx"]] == ["On otters", "On herons"]
    assert by_file["b.docx"][0]["text"].split() == ["On", "otters", "They", "swim", "at", "night."]
    assert [row["heading"] for row in by_file["c.html"]] == ["On *otters*", "At night"] and "var x" not in str(rows)
    assert "They swim." in by_file["c.html"][0]["text"] and "埋め込み" in by_file["c.html"][1]["text"]
    assert by_file["d.md"][0]["text"].startswith("# Plain")
    assert any("They swim at night." in row["text"] for row in by_file["e.epub"])
    assert len({row["id"] for row in rows}) == len(rows)
    alone = load(str(shelf / "a.pdf"))["all"]
    assert alone["page"].to_pylist() == [1, 2] and alone["file"].to_pylist() == ["a.pdf"] * 2


def test_slides(tmp_path):
    pytest.importorskip("pptx")
    pptx(tmp_path / "s.pptx")
    parts, _ = read_document(tmp_path / "s.pptx")
    assert [(part.page, part.heading) for part in parts] == [(1, "Otters"), (2, "Herons")] and "They stand." in parts[
        1
    ].text


def test_documents_that_cannot_be_read(tmp_path):
    pdf(tmp_path / "scanned.pdf", ["", ""])
    with pytest.raises(
        DataError, match=r"scanned.pdf: expected text, found none on 2 pages .*a scan, which wants OCR first"
    ):
        load(str(tmp_path / "scanned.pdf"))
    lock = b"<< /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >>" % (b"41" * 32, b"42" * 32)
    pdf(tmp_path / "locked.pdf", LINES[:1], lock, b"/Encrypt 5 0 R /ID [<00> <00>]")
    with pytest.raises(DataError, match="found one that is encrypted"):
        load(str(tmp_path / "locked.pdf"))
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.4 and nothing more")
    with pytest.raises(DataError, match="broken.pdf: expected a PDF, found what is none or damaged"):
        load(str(tmp_path / "broken.pdf"))
    (tmp_path / "broken.docx").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(DataError, match="broken.docx: expected a document, found what cannot be read"):
        load(str(tmp_path / "broken.docx"))
    (tmp_path / "empty.html").write_text("<html><body></body></html>")
    with pytest.raises(DataError, match="empty.html: expected text, found none"):
        load(str(tmp_path / "empty.html"))


def test_tables_beside_pages_stay_tables(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"text": "a", "label": "x"}\n')
    (tmp_path / "report.html").write_text("<p>about them</p>")
    assert set(load(str(tmp_path))) == {"train"}


def test_encode_takes_them_too(shelf, tmp_path):
    from umekomi.verbs.encode import encode

    encode("hashing", shelf / "a.pdf", tmp_path / "v.parquet")
    encode("hashing", shelf, tmp_path / "w.parquet")
    import pyarrow.parquet as pq

    assert pq.read_table(tmp_path / "v.parquet").num_rows == 2
    assert pq.read_table(tmp_path / "w.parquet").num_rows == load(str(shelf))["all"].num_rows

"""Documents as people have them: PDF by pages, slides by slides, Word, HTML and EPUB by their headings.

PDF goes through pypdfium2 (Google's PDFium), since pages and the outline come with it, and it took under a second where
MarkItDown's reader took ten and more and kept no pages; the rest goes through MarkItDown, which makes Markdown of them.
docling reads layouts, but fetches its networks from the hub when first used and brings torchvision.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from umekomi.errors import DataError, MissingExtra

RICH = (".pdf", ".docx", ".pptx", ".html", ".htm", ".epub")
"""Files that are read here; plain text and Markdown are read as they are."""
_HEADING = re.compile(r"^(#{1,6})\s+(.*\S)\s*#*$")
_SLIDE = re.compile(r"<!-- Slide number: (\d+) -->")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_LINK = re.compile(r"!?\[([^\]\n]*)\]\([^)\n]*\)")


class Part(NamedTuple):
    """A page, a slide or a section of a document; ``page`` 0: it has none."""

    text: str
    page: int = 0
    heading: str = ""


def read_document(file: Path) -> tuple[list[Part], int]:
    """(the parts of a document that hold text, how many hold none); the error for one that cannot be read, or in which
    there is no text."""
    suffix = file.suffix.lower()
    parts = list(
        _pages(file) if suffix == ".pdf" else _slides(file) if suffix == ".pptx" else _sections(_markdown(file))
    )
    kept = [part for part in parts if part.text.strip()]
    if not kept:
        scan = (
            f" on {len(parts)} pages (pictures: a scan, which wants OCR first, or drawings)" if suffix == ".pdf" else ""
        )
        raise DataError(f"{file}: expected text, found none{scan}")
    return kept, len(parts) - len(kept)


def _pages(file: Path) -> Iterator[Part]:
    try:
        import pypdfium2
    except ImportError:
        raise MissingExtra("pypdfium2", "documents", f"reading {file}") from None
    try:
        document = pypdfium2.PdfDocument(file)
    except pypdfium2.PdfiumError as error:
        if "assword" in str(error):
            raise DataError(f"{file}: expected a PDF that can be read, found one that is encrypted") from None
        raise DataError(f"{file}: expected a PDF, found what is none or damaged: {_line(error)}") from None
    try:
        headings = _outline(document)
        heading = ""
        for number in range(len(document)):
            heading = headings.get(number, heading)
            try:
                text = document[number].get_textpage().get_text_bounded()
            except pypdfium2.PdfiumError as error:
                raise DataError(
                    f"{file}, page {number + 1}: expected a page, found a damaged one: {_line(error)}"
                ) from None
            yield Part(_joined(text), number + 1, heading)
    finally:
        document.close()


def _outline(document: Any) -> dict[int, str]:
    """The first bookmark of every page that has one."""
    out: dict[int, str] = {}
    try:
        for item in document.get_toc(max_depth=6):
            target = item.get_dest() if hasattr(item, "get_dest") else None
            page = target.get_index() if target is not None else getattr(item, "page_index", None)
            title = item.get_title() if hasattr(item, "get_title") else item.title
            if page is not None and title:
                out.setdefault(int(page), " ".join(str(title).split()))
    except Exception:  # an outline that is damaged is no outline
        return out
    return out


def _joined(text: str) -> str:
    """Lines of a page as paragraphs: words that were split at a line's end are whole again."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\ufffe", "")
    text = re.sub(r"(\w)[-\u00ad]\n(?=[a-zà-ÿ])", r"\1", text)
    text = re.sub(r"[ \t]+", " ", text)
    return re.sub(r"(?<![.!?:。！？\n])\n(?=[a-zà-ÿ(])", " ", text).strip()


def _markdown(file: Path) -> str:
    # else it would read the bytes of a broken archive as if they were its text
    if file.suffix.lower() in (".docx", ".pptx", ".epub") and not zipfile.is_zipfile(file):
        raise DataError(f"{file}: expected a document, found what cannot be read (it is no archive, or locked)")
    try:
        from markitdown import MarkItDown
    except ImportError:
        raise MissingExtra("markitdown", "documents", f"reading {file}") from None
    try:
        return str(MarkItDown(enable_plugins=False).convert_local(str(file)).markdown)
    except Exception as error:  # whatever the reader of this kind makes of a damaged file
        raise DataError(
            f"{file}: expected a document, found what cannot be read ({type(error).__name__}: {_line(error)})"
        ) from None


def _slides(file: Path) -> Iterator[Part]:
    pieces = _SLIDE.split(_markdown(file))
    for number, text in zip(pieces[1::2], pieces[2::2], strict=True):
        title = next((match[2] for line in text.splitlines() if (match := _HEADING.match(line))), "")
        yield Part(_plain(text), int(number), title)


def _sections(markdown: str) -> Iterator[Part]:
    """Markdown from one heading to the next."""
    heading, lines = "", list[str]()
    for line in markdown.splitlines():
        found = _HEADING.match(line)
        if found:
            if lines:
                yield Part(_plain("\n".join(lines)), 0, heading)
            heading, lines = _plain(found[2]), []
        lines.append(line)
    if lines:
        yield Part(_plain("\n".join(lines)), 0, heading)


def _plain(text: str) -> str:
    """Without comments, addresses of links, and the marks of headings."""
    text = _LINK.sub(r"\1", _COMMENT.sub("", text))
    lines = [re.sub(r"^#{1,6}\s+", "", line).rstrip() for line in text.splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]

"""The report in a browser: nothing is fetched, keys and controls do what they say. Skipped where there is no
Chromium."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from umekomi.verbs.compare import compare

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
PROBE = """<script>
const errors = []; addEventListener("error", e => errors.push(e.message));
const place = () => document.getElementById("place").textContent.split(",")[0], found = [place()];
document.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" })); found.push(place());
document.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft" })); found.push(place());
const first = () => document.querySelector("#board tbody td").textContent;
document.querySelector("[data-key=bytes_per_item]").click(); const down = first();
document.querySelector("[data-key=bytes_per_item]").click(); found.push(down !== first(), document.activeElement.dataset.key);
const quality = document.getElementById("quality"); quality.value = "mrr@10"; quality.onchange(); found.push(document.querySelector("#plot svg").getAttribute("aria-label"));
const ground = () => getComputedStyle(document.body).backgroundColor, before = ground();
document.getElementById("theme").click(); found.push(before !== ground(), document.querySelectorAll("#plot svg g[tabindex]").length, performance.getEntriesByType("resource").length, errors.length);
document.title = "PROBE " + found.join("|");
</script></body>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_keys_sorting_axes_and_theme(tmp_path):
    rows = [
        {
            "anchor": f"which thing has mark {i}",
            "positive": f"The thing with mark {i} <b>&</b> </script> is told of here, number {i}.",
        }
        for i in range(60)
    ]
    compare(["bm25", "random", "hashing"], rows, out=tmp_path / "c")
    page = (tmp_path / "c" / "report.html").read_text()
    (tmp_path / "probe.html").write_text(page.replace("</body>", PROBE))
    words = [
        BROWSER,
        *FLAGS.split(),
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
        f"file://{tmp_path / 'probe.html'}",
    ]
    dom = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False).stdout
    title = re.search(r"<title>PROBE (.*?)</title>", dom)
    assert title, dom[:500]
    one, two, back, sorts, focus, label, themes, points, fetched, errors = title.group(1).split("|")
    assert (one, two, back) == ("1 of 16", "2 of 16", "1 of 16")
    assert (sorts, focus) == ("true", "bytes_per_item")
    assert label == "mrr@10 against bytes_per_item"
    assert (themes, points, fetched, errors) == ("true", "3", "0", "0")

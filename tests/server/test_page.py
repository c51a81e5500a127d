"""The page in headless Chromium: what each view shows, by keyboard alone, in both languages, in light and dark, and
nothing from elsewhere."""

from __future__ import annotations

import os
import shutil

import pytest

playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("fastapi")
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
if CHROMIUM is None:
    pytest.skip("Chromium is not on this machine", allow_module_level=True)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as play:
        started = play.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--enable-unsafe-swiftshader", "--use-gl=angle", "--use-angle=swiftshader"],
        )
        yield started
        started.close()


@pytest.fixture
def page(browser, server, request):
    """The page, opened; every word on its console, every failure and every request to another place is an error at the
    end."""
    options = getattr(request, "param", {})
    context = browser.new_context(**{"locale": "en-US", "viewport": {"width": 1100, "height": 800}} | options)
    opened = context.new_page()
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on(
        "request",
        lambda sent: said.append(f"asked {sent.url}") if not sent.url.startswith((server.url, "data:")) else None,
    )
    opened.goto(server.url)
    opened.wait_for_selector("body[data-ready]")
    opened.expected = []
    yield opened
    assert [each for each in said if not any(word in each for word in opened.expected)] == []
    context.close()


def test_search_by_keyboard_alone(page):
    assert page.evaluate("document.activeElement.id") == "query"
    page.keyboard.type("baking bread")
    page.keyboard.press("Enter")
    page.wait_for_selector("#results li")
    first = page.locator("#results li").first
    assert first.locator("b").inner_text() == "bread"
    assert first.locator("mark").inner_text() == "Bake the loaf in a hot oven."
    assert "year" in first.locator("dl").inner_text() and "2019" in first.locator("dl").inner_text()
    assert "6 found in" in page.inner_text("#search-said")


def test_texts_are_text(page):
    page.fill("#query", "markup script alert")
    page.keyboard.press("Enter")
    page.wait_for_selector("#results li")
    assert "<script>alert('x')</script> is a text like any other & stays one." in page.inner_text("#results")
    assert page.locator("#results script").count() == 0


def test_a_filter_and_what_is_wrong_with_one(page):
    page.fill("#query", "weather")
    page.fill("#filter", "year == 2021")
    page.keyboard.press("Enter")
    page.wait_for_selector("#results li")
    assert page.locator("#results li").count() == 2
    page.expected.append("400")
    page.fill("#filter", "year ===")
    page.keyboard.press("Enter")
    page.wait_for_selector("#notice:not([hidden])")
    assert page.locator("#results li").count() == 0 and page.inner_text("#notice")
    page.fill("#filter", "")
    page.keyboard.press("Enter")
    page.wait_for_selector("#results li")
    assert page.locator("#notice").is_hidden()


def test_two_orders_side_by_side(page):
    page.click("#tab-compare")
    page.fill("#compare-query", "a loaf")
    page.keyboard.press("Enter")
    page.wait_for_selector("#right-results li")
    assert (page.inner_text("#left-name"), page.inner_text("#right-name")) == (
        "notes: by minilm",
        "notes: ordered anew by tiny",
    )
    assert page.locator("#left-results li").count() == page.locator("#right-results li").count() == 6
    assert page.inner_text("#compare-said") == "6 of 6 in both"


def test_similarities_are_the_models(page, minilm):
    texts = ["The cat sat.", "A kitten lay down.", "Stocks fell."]
    page.click("#tab-similarity")
    page.fill("#texts", "\n".join(texts))
    page.select_option("#similarity-model", "minilm")
    page.click("#similarity-form button")
    page.wait_for_selector("#matrix tbody td")
    vectors = minilm.encode(texts)
    want = minilm.similarity(vectors, vectors)
    shown = [
        [float(text) for text in row.locator("td").all_inner_texts()] for row in page.locator("#matrix tbody tr").all()
    ]
    assert abs(want - shown).max() < 0.0006
    page.fill("#texts", "one")
    page.click("#similarity-form button")
    page.wait_for_selector("#notice:not([hidden])")
    assert page.inner_text("#notice") == "Give at least two texts."


def test_the_map_shows_points_and_what_they_are(page):
    page.click("#tab-map")
    playwright.expect(page.locator("#map-said")).to_have_text("6 points")
    page.focus("#canvas")
    page.keyboard.press("+")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    page.wait_for_selector("#point h2")
    assert page.inner_text("#point h2") in {"bread", "stocks", "cats", "rain", "umekomi", "markup"}
    drawn = page.evaluate(
        """() => { const m = state.map; m.paint(1); const gl = m.gl, n = gl.drawingBufferWidth * gl.drawingBufferHeight * 4, pixels = new Uint8Array(n);
        gl.readPixels(0, 0, gl.drawingBufferWidth, gl.drawingBufferHeight, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
        let lit = 0; for (let i = 3; i < n; i += 4) lit += pixels[i] > 0; return lit; }"""
    )
    assert drawn > 50, "nothing was drawn"


def test_the_map_in_colours(page):
    page.click("#tab-map")
    playwright.expect(page.locator("#map-said")).to_have_text("6 points")
    page.select_option("#map-colour", "year")
    playwright.expect(page.locator("#legend li")).to_have_count(5)
    assert page.locator("#legend li").nth(2).inner_text().split() == ["2021", "2"]
    hues = """() => { const m = state.map; m.paint(1); const gl = m.gl, n = gl.drawingBufferWidth * gl.drawingBufferHeight * 4, pixels = new Uint8Array(n);
        gl.readPixels(0, 0, gl.drawingBufferWidth, gl.drawingBufferHeight, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
        const seen = new Map(); for (let i = 0; i < n; i += 4) if (pixels[i + 3] > 214) { const hue = pixels.slice(i, i + 3).join(); seen.set(hue, (seen.get(hue) || 0) + 1); }
        return [...seen.values()].filter((count) => count > 5).length; }"""
    assert page.evaluate(hues) == 5
    page.click("#language")
    assert page.locator("#map-colour option").first.inner_text() == "なし"
    page.select_option("#map-colour", "")
    playwright.expect(page.locator("#legend li")).to_have_count(0)
    assert page.evaluate(hues) == 1


def test_a_hundred_thousand_points_keep_pace(page):
    """While it moves, fewer points are drawn where frames are late, all of them where they are not, and when it rests;
    the point under the pointer is found by a look at few. (By a clock of the test's own: the machine's may be busy.)"""
    page.click("#tab-map")
    playwright.expect(page.locator("#map-said")).to_have_text("6 points")
    found = page.evaluate(
        """async () => { const m = state.map; const n = 100000, places = new Float32Array(2 * n); for (let i = 0; i < 2 * n; i++) places[i] = Math.random() * 2 - 1;
        m.show(places); m.colour(new Uint8Array(n).map((_, i) => i % 8), RISING); await new Promise(requestAnimationFrame); await new Promise(requestAnimationFrame);
        const asked = [], painted = [], paint = m.paint.bind(m), real = window.requestAnimationFrame; m.paint = (every) => { painted.push(every); paint(every); };
        window.requestAnimationFrame = (frame) => asked.push(frame); let now = m.last;
        const frames = (count, took, moving) => { for (let i = 0; i < count; i++) { m.x += 0.002; m.draw(moving); asked.pop()(now += took); } return painted.at(-1); };
        const slow = frames(10, 100, true), fast = frames(40, 10, true), again = frames(10, 100, true), rest = frames(1, 100, false);
        window.requestAnimationFrame = real; delete m.paint; let near = 0, seen = 0; const cells = m.cells; m.cells = { get: (cell) => { const those = cells.get(cell) || []; seen += those.length; return those; } };
        for (let i = 0; i < 100; i++) near += m.nearest(300 + i, 200 + i, 12) >= 0; return [slow, fast, again, rest, near, seen / 100]; }"""
    )
    *others, seen = found
    assert others == [31, 1, 31, 1, 100]
    assert seen < 1000, "a hundredth of the points is looked at"


@pytest.mark.parametrize(
    "page", [{"locale": "ja-JP", "color_scheme": "dark"}, {"locale": "ja-JP", "color_scheme": "light"}], indirect=True
)
def test_japanese_in_dark_and_light(page, request):
    assert page.locator("html").get_attribute("lang") == "ja"
    assert page.inner_text("#tab-search") == "検索"
    dark = request.node.callspec.params["page"]["color_scheme"] == "dark"
    red = int(page.evaluate("getComputedStyle(document.body).backgroundColor").split("(")[1].split(",")[0])
    assert (red < 60) == dark
    page.keyboard.type("意味が近い文")
    page.keyboard.press("Enter")
    page.wait_for_selector("#results li")
    assert "件" in page.inner_text("#search-said")
    page.click("#language")
    assert page.inner_text("#tab-search") == "Search"
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert page.inner_text("#tab-search") == "Search", "the choice is kept"


def test_every_word_is_there_in_both_languages(page):
    assert page.evaluate("Object.keys(WORDS.en).sort().join() === Object.keys(WORDS.ja).sort().join()")
    used = page.evaluate(
        "[...document.querySelectorAll('[data-say],[data-label],[data-hint]')].flatMap(e => "
        "Object.values(e.dataset)).filter(w => !(w in WORDS.en))"
    )
    assert used == []


def test_tabs_by_arrow_keys_and_names_for_everything(page):
    page.focus("#tab-search")
    for want in ("compare", "similarity", "map", "search"):
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.id") == f"tab-{want}"
        assert page.locator(f"#{want}").is_visible()
    unnamed = page.evaluate(
        "[...document.querySelectorAll('input,select,textarea,button,canvas')].filter(e => !(e.labels && "
        "e.labels.length) && !e.getAttribute('aria-label') && !e.textContent.trim()).map(e => e.id)"
    )
    assert unnamed == []


HELD = """
const real = fetch;
let held = false;
window.fetch = async (path, how) => {
  const answer = await real(path, how);
  if (!held && (how.headers.authorization || "").endsWith("wrong")) {
    held = true;
    await new Promise((go) => (window.letGo = go));
  }
  return answer;
};
"""
"""One refusal of the wrong key comes when the right one has been given already."""


def test_a_key_is_asked_for_once(browser, folders, tmp_path):
    from served import Server

    (tmp_path / "key").write_text("a-long-secret")
    with Server(
        folders[0], "--api-key-file", tmp_path / "key", env={"UMEKOMI_DATA": os.environ.get("UMEKOMI_DATA", "")}
    ) as running:
        context = browser.new_context()
        context.add_init_script(HELD)
        opened = context.new_page()
        opened.goto(running.url)
        opened.wait_for_selector("#key-dialog[open]")
        opened.fill("#key", "wrong")
        opened.keyboard.press("Enter")
        opened.wait_for_selector("#key-dialog[open]")
        opened.fill("#key", "a-long-secret")
        opened.keyboard.press("Enter")
        opened.wait_for_selector("#key-dialog:not([open])", state="hidden")
        opened.evaluate("letGo()")
        opened.wait_for_selector("body[data-ready]")
        assert not opened.locator("#key-dialog").is_visible()
        assert "tiny" in opened.inner_text("#served")
        context.close()

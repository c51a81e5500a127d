"use strict";
const $ = (id) => document.getElementById(id);
const made = (name, text, kind) => {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (kind) element.className = kind;
  return element;
};
const state = { language: localStorage.getItem("umekomi-language") || (navigator.language.startsWith("ja") ? "ja" : "en"), models: [], indexes: [], drawn: null, map: null, items: new Map() };
const say = (name, ...values) => {
  const word = WORDS[state.language][name];
  return typeof word === "function" ? word(...values) : word;
};

// --- talking to the server

async function ask(path, body, binary) {
  for (;;) {
    const key = sessionStorage.getItem("umekomi-key");
    const headers = { ...(key ? { authorization: `Bearer ${key}` } : {}), ...(body ? { "content-type": "application/json" } : {}) };
    let answer;
    try {
      answer = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) });
    } catch {
      throw new Error(say("failed"));
    }
    if (answer.status === 401) {
      // a refusal that comes late is of a key that another has replaced
      if (key === sessionStorage.getItem("umekomi-key")) sessionStorage.setItem("umekomi-key", await wantedKey());
      continue;
    }
    if (answer.ok && binary) return answer.arrayBuffer();
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.error ? found.error.message : String(answer.status));
    return found;
  }
}

let keyWanted = null; // one question for all requests that wait for it
function wantedKey() {
  keyWanted ||= new Promise((resolve) => {
    $("key").value = "";
    $("key-dialog").showModal();
    $("key-form").onsubmit = () => {
      keyWanted = null;
      resolve($("key").value);
    };
    $("key-dialog").oncancel = (e) => e.preventDefault();
  });
  return keyWanted;
}

function tell(error) {
  $("notice").textContent = error ? error.message : "";
  $("notice").hidden = !error;
}

const guarded = (job) => async (event) => {
  if (event) event.preventDefault();
  tell(null);
  try {
    await job();
  } catch (error) {
    tell(error);
  }
};

// --- words

function speak() {
  document.documentElement.lang = state.language;
  for (const element of document.querySelectorAll("[data-say]")) element.textContent = say(element.dataset.say);
  for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", say(element.dataset.label));
  for (const element of document.querySelectorAll("[data-hint]")) element.placeholder = say(element.dataset.hint);
  $("language").textContent = say("other");
  $("language").lang = state.language === "ja" ? "en" : "ja";
  $("served").textContent = state.models.length ? say("served", state.models.map((model) => model.id).join(", ")) : "";
  offer();
}

// --- tabs

const TABS = ["search", "compare", "similarity", "map"];
function open(name, focus) {
  for (const tab of TABS) {
    const button = $(`tab-${tab}`);
    button.setAttribute("aria-selected", String(tab === name));
    button.tabIndex = tab === name ? 0 : -1;
    $(tab).hidden = tab !== name;
  }
  if (focus) $(`tab-${name}`).focus();
  history.replaceState(null, "", `#${name}`);
  if (name === "map") guarded(drawMap)();
}

// --- lists of what is served

function fill(select, entries) {
  const before = select.value;
  select.replaceChildren(...entries.map(([value, text]) => Object.assign(made("option", text), { value })));
  if (entries.some(([value]) => value === before)) select.value = before;
}

function offer() {
  for (const select of document.querySelectorAll("select.indexes")) fill(select, state.indexes.map((index) => [index.id, `${index.id} (${index.rows.toLocaleString()})`]));
  for (const select of document.querySelectorAll("select.models")) fill(select, state.models.filter((model) => model.makes !== "predictor").map((model) => [model.id, model.id]));
  const orders = state.indexes.flatMap((index) => [
    [JSON.stringify([index.id, null]), say("byItself", index.id, index.legs.length > 1 ? index.legs.join(" + ") : index.model || "—")],
    ...(index.legs.length > 1 ? index.legs.map((leg) => [JSON.stringify([index.id, null, leg]), say("byLeg", index.id, leg)]) : []),
    ...state.models.filter((model) => model.id !== index.model && model.makes !== "predictor").map((model) => [JSON.stringify([index.id, model.id]), say("reranked", index.id, model.id)]),
  ]);
  for (const select of document.querySelectorAll("select.orders")) {
    const first = !select.options.length;
    fill(select, orders);
    if (first && select.id === "right" && orders.length > 1) select.selectedIndex = 1;
  }
  if (!state.indexes.length) for (const id of ["search-said", "compare-said", "map-said"]) $(id).textContent = say("noIndex");
}

// --- search

function hit(result, rank, best, note) {
  const item = made("li");
  const head = made("div", undefined, "head");
  head.append(made("span", String(rank)), made("b", result.id), made("span", result.score.toFixed(4), "moved"));
  const bar = made("span", undefined, "bar");
  const full = made("i");
  full.style.width = `${Math.round(100 * Math.max(0, Math.min(1, best > 0 ? result.score / best : 0)))}%`;
  bar.append(full);
  head.append(bar);
  if (note) head.append(made("span", note));
  item.append(head);
  if (result.text) {
    const text = made("p");
    const [start, end] = result.best || [0, 0];
    const points = result.text; // places count characters as Python does: by code point
    const letters = end ? Array.from(points) : null;
    if (letters && end > start && end - start < letters.length) text.append(letters.slice(0, start).join(""), made("mark", letters.slice(start, end).join("")), letters.slice(end).join(""));
    else text.textContent = points;
    item.append(text);
  }
  const fields = Object.entries(result.payload || {}).filter(([, value]) => value !== null && value !== "");
  if (fields.length) {
    const list = made("dl");
    for (const [name, value] of fields) {
      const pair = made("div");
      pair.append(made("dt", name), made("dd", typeof value === "object" ? JSON.stringify(value) : String(value)));
      list.append(pair);
    }
    item.append(list);
  }
  return item;
}

async function search() {
  const [query, filter] = [$("query").value, $("filter").value.trim()];
  $("search-said").textContent = say("seeing");
  const begun = performance.now();
  let found;
  try {
    found = await ask("/v1/search", { query, index: $("search-index").value || null, k: Number($("count").value) || 10, mark: true, ...(filter ? { filter } : {}) });
  } catch (error) {
    $("search-said").textContent = "";
    $("results").replaceChildren();
    throw error;
  }
  const results = found.results;
  $("results").replaceChildren(...results.map((result, place) => hit(result, place + 1, results[0].score)));
  const told = results.length ? say("found", results.length, Math.round(performance.now() - begun)) : say("none");
  $("search-said").textContent = found.truncated ? `${told} ${say("cut")}` : told;
}

async function compare() {
  const query = $("compare-query").value;
  $("compare-said").textContent = say("seeing");
  const sides = ["left", "right"];
  const orders = sides.map((side) => JSON.parse($(side).value || "[null,null]"));
  let found;
  try {
    found = await Promise.all(orders.map(([index, rerank, leg]) => ask("/v1/search", { query, index, k: 10, mark: false, ...(rerank ? { rerank } : {}), ...(leg ? { leg } : {}) })));
  } catch (error) {
    $("compare-said").textContent = "";
    throw error;
  }
  const places = found.map((side) => new Map(side.results.map((result, place) => [result.id, place + 1])));
  sides.forEach((side, number) => {
    $(`${side}-name`).textContent = $(side).selectedOptions[0].textContent;
    const results = found[number].results;
    const best = results.length ? results[0].score : 0;
    $(`${side}-results`).replaceChildren(...results.map((result, place) => hit(result, place + 1, best, say("rank", place + 1, places[1 - number].get(result.id)))));
  });
  const both = [...places[0].keys()].filter((id) => places[1].has(id)).length;
  $("compare-said").textContent = say("overlap", both, Math.max(places[0].size, places[1].size));
}

// --- similarity

async function similarity() {
  const texts = $("texts").value.split("\n").map((line) => line.trim()).filter(Boolean);
  if (texts.length < 2) throw new Error(say("two"));
  if (texts.length > 64) throw new Error(say("many"));
  $("similarity-said").textContent = say("seeing");
  const model = $("similarity-model").value;
  const begun = performance.now();
  const found = await ask("/v1/similarity", { model, input: texts });
  const table = $("matrix");
  table.replaceChildren();
  const head = table.createTHead().insertRow();
  head.append(made("td"), ...texts.map((_, place) => made("td", String(place + 1))));
  const values = found.similarity;
  const [low, high] = [Math.min(...values.flat()), Math.max(...values.flat())];
  const body = table.createTBody();
  values.forEach((row, place) => {
    const line = body.insertRow();
    line.append(Object.assign(made("th", `${place + 1} ${texts[place]}`), { title: texts[place], scope: "row" }));
    row.forEach((value) => {
      const cell = made("td", value.toFixed(3));
      const share = high > low ? (value - low) / (high - low) : 0;
      cell.style.background = `color-mix(in srgb, var(--accent) ${Math.round(share * 55)}%, transparent)`;
      line.append(cell);
    });
  });
  $("similarity-said").textContent = `${found.metric}, ${Math.round(performance.now() - begun)} ms`;
}

// --- map

async function drawMap() {
  const index = state.indexes.find((each) => each.id === $("map-index").value);
  if (!index) return;
  state.map ||= new PointMap($("canvas"), (point) => guarded(() => showPoint(point))());
  state.map.draw();
  if (state.drawn === index.id) return;
  if (!index.map) {
    state.drawn = index.id;
    state.map.show(new Float32Array(0));
    offerColours([]);
    for (const id of ["point", "legend"]) $(id).replaceChildren();
    $("map-said").textContent = say("noMap");
    return;
  }
  $("map-said").textContent = say("seeing");
  const places = new Float32Array(await ask(`/v1/indexes/${encodeURIComponent(index.id)}/map`, null, true));
  state.drawn = index.id;
  state.items.clear();
  $("point").replaceChildren();
  state.map.show(places);
  offerColours(index.fields);
  $("map-said").textContent = say("points", places.length / 2, index.rows) + (state.map.gl ? "" : ` ${say("flat")}`);
  await colourMap();
}

function offerColours(fields) {
  fill($("map-colour"), [["", say("plain")], ...fields.map((field) => [field, field])]);
  $("map-colour").options[0].dataset.say = "plain";
}

async function colourMap() {
  const [index, field] = [state.drawn, $("map-colour").value];
  if (!index) return;
  if (!field) {
    $("legend").replaceChildren();
    return state.map.colour(null);
  }
  const found = await ask(`/v1/indexes/${encodeURIComponent(index)}/groups?field=${encodeURIComponent(field)}`);
  if (state.drawn !== index || $("map-colour").value !== field) return; // another was chosen meanwhile
  const colours = found.groups.map((group, place) => REST[group.kind] || (found.ordered ? RISING : PALETTE)[place]);
  state.map.colour(found.points, colours);
  $("legend").replaceChildren(
    ...found.groups.map((group, place) => {
      const line = made("li");
      const dot = made("i");
      dot.style.background = colours[place];
      const label = made("b", group.label ?? say(group.kind));
      if (group.label === null) label.dataset.say = group.kind;
      line.append(dot, label, " ", made("span", group.count.toLocaleString()));
      return line;
    }),
  );
}

let waiting = 0;
async function showPoint(point) {
  const mine = ++waiting;
  if (!state.items.has(point)) {
    await new Promise((resolve) => setTimeout(resolve, 60));
    if (mine !== waiting) return; // the pointer has gone on
    const found = await ask(`/v1/indexes/${encodeURIComponent(state.drawn)}/items?points=${point}`);
    state.items.set(point, found.data[0]);
  }
  if (mine !== waiting) return;
  const item = state.items.get(point);
  const list = made("dl");
  for (const [name, value] of Object.entries(item.payload || {})) list.append(made("dt", name), made("dd", String(value)));
  $("point").replaceChildren(made("h2", item.id), made("p", item.text), list);
}

// --- begin

document.addEventListener("DOMContentLoaded", async () => {
  speak();
  for (const tab of TABS) $(`tab-${tab}`).addEventListener("click", () => open(tab));
  $("tabs").addEventListener("keydown", (e) => {
    const at = TABS.findIndex((tab) => $(`tab-${tab}`).getAttribute("aria-selected") === "true");
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: TABS.length - 1 }[e.key];
    if (next === undefined) return;
    e.preventDefault();
    open(TABS[(next + TABS.length) % TABS.length], true);
  });
  document.addEventListener("keydown", (e) => {
    if (e.key !== "/" || /INPUT|TEXTAREA|SELECT/.test(document.activeElement.tagName)) return;
    e.preventDefault();
    open("search");
    $("query").focus();
  });
  $("language").addEventListener("click", () => {
    state.language = state.language === "ja" ? "en" : "ja";
    localStorage.setItem("umekomi-language", state.language);
    speak();
  });
  $("search-form").addEventListener("submit", guarded(search));
  $("compare-form").addEventListener("submit", guarded(compare));
  $("similarity-form").addEventListener("submit", guarded(similarity));
  $("map-index").addEventListener("change", guarded(drawMap));
  $("map-colour").addEventListener("change", guarded(colourMap));
  await guarded(async () => {
    [state.models, state.indexes] = (await Promise.all([ask("/v1/models"), ask("/v1/indexes")])).map((found) => found.data);
    speak();
  })();
  const wanted = location.hash.slice(1);
  open(TABS.includes(wanted) ? wanted : state.indexes.length ? "search" : "similarity");
  if (state.indexes.length && !$("search").hidden) $("query").focus();
  document.body.dataset.ready = "yes";
});

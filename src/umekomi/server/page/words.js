"use strict";
// What the page says, in its two languages.
const WORDS = {
  en: {
    skip: "To the content", tabs: "Views", search: "Search", compare: "Compare", similarity: "Similarity", map: "Map", go: "Go", use: "Use",
    query: "Query", queryHint: "What are you looking for?", index: "Index", hits: "Hits", filter: "Filter", filterHint: 'year > 2020 and lang == "ja"',
    left: "Left", right: "Right", texts: "Texts, one a line", model: "Model", matrix: "Similarities", key: "This server wants an API key",
    mapKeys: "Drag or arrow keys move, wheel or + and − zoom, 0 shows all; point at a dot or press Enter for the one in the middle.",
    found: (n, s) => `${n} found in ${s} ms`, none: "Nothing found", noIndex: "This server has no index. Start it with --index to search.",
    cut: "The query was longer than the model reads and was cut.", rank: (n, other) => (other ? `${n} · there ${other}` : `${n} · not there`),
    byItself: (i, m) => `${i}: by ${m}`, byLeg: (i, l) => `${i}: by ${l} alone`, reranked: (i, m) => `${i}: ordered anew by ${m}`, overlap: (a, b) => `${a} of ${b} in both`,
    points: (n, all) => (n === all ? `${n.toLocaleString()} points` : `${n.toLocaleString()} of ${all.toLocaleString()} rows`), noMap: "This index has no map.",
    seeing: "Loading…", colour: "Colour by", plain: "nothing", rest: "all others", missing: "no value", two: "Give at least two texts.", many: "At most 64 texts.", failed: "The server cannot be reached.", flat: "Drawn without WebGL.",
    served: (models) => `Models: ${models}`, other: "日本語",
  },
  ja: {
    skip: "本文へ", tabs: "表示", search: "検索", compare: "比較", similarity: "類似度", map: "地図", go: "実行", use: "使う",
    query: "検索語", queryHint: "何を探しますか", index: "索引", hits: "件数", filter: "条件", filterHint: 'year > 2020 and lang == "ja"',
    left: "左", right: "右", texts: "文を1行に1つずつ", model: "モデル", matrix: "類似度の表", key: "このサーバーにはAPIキーが必要です",
    mapKeys: "ドラッグか矢印キーで移動、ホイールか + と − で拡大縮小、0 で全体。点を指すか、Enter で中央の点を表示します。",
    found: (n, s) => `${n} 件(${s} ミリ秒)`, none: "見つかりませんでした", noIndex: "このサーバーには索引がありません。--index を付けて起動してください。",
    cut: "検索語がモデルの読める長さを超えたため、途中で切られました。", rank: (n, other) => (other ? `${n} 位 ・ 反対側では ${other} 位` : `${n} 位 ・ 反対側にはありません`),
    byItself: (i, m) => `${i}:${m} の順`, byLeg: (i, l) => `${i}:${l} のみの順`, reranked: (i, m) => `${i}:${m} で並べ直し`, overlap: (a, b) => `${b} 件のうち ${a} 件が両方にあります`,
    points: (n, all) => (n === all ? `${n.toLocaleString()} 点` : `${all.toLocaleString()} 行のうち ${n.toLocaleString()} 点`), noMap: "この索引には地図がありません。",
    seeing: "読み込み中…", colour: "色分け", plain: "なし", rest: "その他", missing: "値なし", two: "文を2つ以上入れてください。", many: "文は64個までです。", failed: "サーバーにつながりません。", flat: "WebGL なしで描いています。",
    served: (models) => `モデル:${models}`, other: "English",
  },
};

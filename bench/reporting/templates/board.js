"use strict";
// The page is whole without this. With it rows are sorted and filtered, columns chosen, and views have an address.

const $ = (selector, root = document) => [...root.querySelectorAll(selector)];
const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};
const FILTERS = ["tier", "labels", "side", "learner", "generator", "encoder", "backbone"];
const tables = $("table.board");
const fresh = () => ({ q: "", sort: "", down: false, show: {}, open: new Set(), filters: {} });
let state = fresh();

// --- cells ---------------------------------------------------------------------------------------------------------

const number = text => {
  const found = parseFloat(text.replace("−", "-").replace(/,/g, ""));
  return Number.isFinite(found) ? found : null;
};
const line = group => group.rows[0];
const cellOf = (row, place) => row.cells[place];
const columns = table => [...table.tHead.rows[0].cells];
const title = head => $(".over, .t", head).map(one => one.textContent).filter(Boolean).join(" ");
const shape = head => head.dataset.c.split(".")[1] || "";
const keyOf = head => head.dataset.c.split(".")[0];

function value(row, place, words) {
  const cell = cellOf(row, place);
  if (!cell) return words ? "" : null;
  if (cell.dataset.v) return Number(cell.dataset.v);
  const said = cell.matches(".name") ? cell.querySelector(".who").textContent : (cell.firstChild || cell).textContent.trim();
  return words ? said : number(said);
}

// --- sorting: within each section ----------------------------------------------------------------------------------

function sort(table) {
  const place = columns(table).findIndex(head => head.dataset.c === state.sort);
  columns(table).forEach((head, i) => {
    if (i === place) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  });
  const words = place >= 0 && columns(table)[place].matches(".x, .name");
  for (const heading of $("tbody.head", table)) {
    const groups = $("tbody.group", table).filter(group => group.dataset.tier === heading.dataset.tier);
    const order = place < 0 ? groups.sort((a, b) => a.dataset.at - b.dataset.at) : groups.sort((a, b) => {
      const [x, y] = [value(line(a), place, words), value(line(b), place, words)];
      const empty = words ? [x === "" || x === "–", y === "" || y === "–"] : [x === null, y === null];
      if (empty[0] || empty[1]) return empty[0] - empty[1] || a.dataset.at - b.dataset.at;
      const apart = words ? x.localeCompare(y, "en", { numeric: true }) : x - y;
      return (state.down ? -apart : apart) || a.dataset.at - b.dataset.at;
    });
    heading.after(...order);
  }
}

function clicked(head) {
  const first = head.matches(".x, .name") || keyOf(head) === "rank" ? false : true;
  if (state.sort !== head.dataset.c) Object.assign(state, { sort: head.dataset.c, down: first });
  else if (state.down === first) state.down = !first;
  else Object.assign(state, { sort: "", down: false });
  apply();
}

// --- filtering and folding -----------------------------------------------------------------------------------------

// Side information has letters in its cell and words in the row; what else a row can be found by stands in its cells.
function facet(row, name) {
  if (name === "side") return row.dataset.side || "";
  const place = columns(row.closest("table")).findIndex(head => head.dataset.c === name);
  const said = place < 0 ? "" : row.cells[place].textContent;
  return said === "–" ? "" : said;
}

function matches(row) {
  const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  const said = row.dataset.said;
  return words.every(word => said.includes(word)) && FILTERS.every(name => {
    const wanted = state.filters[name];
    if (!wanted || name === "tier") return true;
    const has = facet(row, name);
    if (name !== "side") return has === wanted;
    return wanted === "none" ? has === "" : !has.split(" ").includes(wanted.replace("without ", ""));
  });
}

function filter(table) {
  let shown = 0, all = 0;
  const narrowed = state.q.trim() !== "" || FILTERS.some(name => name !== "tier" && state.filters[name]);
  for (const heading of $("tbody.head", table)) {
    const tier = heading.dataset.tier;
    let any = false, floors = [];
    for (const group of $("tbody.group", table).filter(one => one.dataset.tier === tier)) {
      const wanted = !state.filters.tier || state.filters.tier === tier;
      const rows = [...group.rows].filter(row => !row.matches(".about"));
      const hits = rows.map(row => wanted && matches(row));
      // The floor is the line that the others are seen against, so it stays where any of them does.
      if (rows[0].matches(".floor")) { floors.push(group); continue; }
      rows.forEach((row, i) => {
        row.hidden = !hits[i];
        if (row.nextElementSibling?.matches(".about")) row.nextElementSibling.hidden = !hits[i];
      });
      group.hidden = !hits.some(Boolean);
      group.classList.toggle("found", narrowed && !hits[0] && hits.some(Boolean));
      any ||= !group.hidden;
    }
    floors.forEach(group => { group.hidden = !any; });
    heading.hidden = !any;
  }
  for (const row of $("tbody.group > tr:not(.about)", table)) {
    all += 1;
    shown += row.checkVisibility() ? 1 : 0;
  }
  return [shown, all];
}

// --- columns -------------------------------------------------------------------------------------------------------

const unasked = {};
const rules = element("style");
document.head.append(rules);

function choose() {
  rules.textContent = tables.map((table, i) => columns(table).map((head, place) => {
    const on = state.show[keyOf(head)];
    const cells = `.t${i + 1} > :is(thead, .group) > tr:not(.about) > :nth-child(${place + 1})`;
    return on === undefined ? "" : `@media screen { ${cells} { display: ${on ? "table-cell" : "none"}; } }`;
  }).join("\n")).join("\n");
  for (const table of tables) {
    const width = columns(table).filter(head => state.show[keyOf(head)] ?? !head.matches(".off")).length;
    $("tbody.head th, tr.about > td", table).forEach(cell => { cell.colSpan = width; });
  }
}

// A board that is no wider than the page needs no box: its head then stays at the top of the window.
function fit() {
  for (const table of tables) {
    const box = table.parentNode;
    box.classList.toggle("fits", table.scrollWidth <= box.clientWidth);
    if (box.matches(".fits")) box.removeAttribute("tabindex"); else box.tabIndex = 0;
  }
}
addEventListener("resize", fit);

// --- the state in the address --------------------------------------------------------------------------------------

function address() {
  const said = new URLSearchParams();
  if (state.q) said.set("q", state.q);
  for (const name of FILTERS) if (state.filters[name]) said.set(name, state.filters[name]);
  if (state.sort) said.set("sort", (state.down ? "-" : "") + state.sort);
  const shown = Object.entries(state.show).map(([key, on]) => (on ? "" : "-") + key);
  if (shown.length) said.set("columns", shown.join(","));
  if (state.open.size) said.set("unfold", [...state.open].join(","));
  return said.toString();
}

function read() {
  state = fresh();
  if (!location.hash.startsWith("#view?")) return;
  const said = new URLSearchParams(location.hash.slice(6));
  state.q = said.get("q") || "";
  for (const name of FILTERS) if (said.get(name)) state.filters[name] = said.get(name);
  const sorted = said.get("sort") || "";
  Object.assign(state, { sort: sorted.replace(/^-/, ""), down: sorted.startsWith("-") });
  for (const key of (said.get("columns") || "").split(",").filter(Boolean)) {
    const name = key.replace(/^-/, "");
    if (name in unasked) state.show[name] = !key.startsWith("-");
  }
  state.open = new Set((said.get("unfold") || "").split(",").filter(Boolean));
}

const $id = id => document.getElementById(id);

function apply(write = true) {
  $id("q").value = state.q;
  $("#filters select").forEach(select => { select.value = state.filters[select.name] || ""; });
  $("#columns input").forEach(box => { box.checked = state.show[box.name] ?? unasked[box.name]; });
  const all = state.open.has("all");
  $("input.fold").forEach(box => { box.checked = all || state.open.has(line(box.closest("tbody")).id); });
  $id("unfold").setAttribute("aria-pressed", String(all));
  choose();
  let shown = 0, rows = 0;
  for (const table of tables) {
    sort(table);
    const [some, every] = filter(table);
    shown += some;
    rows += every;
  }
  $id("count").textContent = `${shown} of ${rows} rows shown`;
  const narrowing = Object.values(state.filters).filter(Boolean).length;
  $("summary", $id("filters").parentNode)[0].textContent = narrowing ? `Filter (${narrowing})` : "Filter";
  fit();
  if (!write) return;
  const said = address();
  try {
    history.replaceState(null, "", said ? `#view?${said}` : location.pathname + location.search);
  } catch { /* a page inside another may have no address of its own */ }
}

// --- CSV of exactly what is shown ----------------------------------------------------------------------------------

const quoted = text => {
  const safe = /^\s*[=@+\-＝＋－＠]/.test(text) && !/^[+-]?[\d.,]+$/.test(text) ? `'${text}` : text;
  return /[",\n]/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
};

function csv() {
  const texts = [];
  for (const table of tables) {
    const heads = columns(table).map((head, place) => ({ head, place })).filter(({ head }) => head.checkVisibility());
    const rows = $("tbody.group > tr:not(.about)", table).filter(row => row.checkVisibility());
    if (!rows.length) continue;
    // What follows a number (an interval, a mark, a grey line) has a column of its own.
    const parts = heads.map(({ head, place }) => {
      const cells = rows.map(row => row.cells[place]);
      let over = "";
      for (let i = place; shape(head) && i >= 0 && !over; i -= 1) over = $(".over", columns(table)[i])[0]?.textContent || "";
      if (shape(head) && !over) over = $(".over", table.tHead).map(one => one.textContent).find(Boolean) || "";
      const name = [over, $(".t", head)[0].textContent].filter(Boolean).join(" ");
      if (head.matches(".name")) return [[name, cells.map(cell => cell.querySelector(".who").textContent)]];
      const words = cells.map(cell => [...cell.childNodes].filter(one => !["I", "EM", "SMALL"].includes(one.nodeName))
        .map(one => one.textContent).join("").trim().replace("−", "-"));
      const rest = cells.map(cell => $("i, em, small", cell).map(one => one.textContent).join("; ").replace("−", "-"));
      return rest.some(Boolean) ? [[name, words], [`${name}, note`, rest]] : [[name, words]];
    }).flat();
    const sections = rows.map(row => $(`tbody.head[data-tier="${CSS.escape(row.parentNode.dataset.tier)}"] b`, table)[0].textContent);
    parts.unshift(["table", rows.map(() => table.closest("section").getAttribute("aria-label"))], ["section", sections]);
    texts.push([parts.map(([name]) => quoted(name)).join(","),
      ...rows.map((_, i) => parts.map(([, cells]) => quoted(cells[i])).join(","))].join("\n"));
  }
  const link = element("a", { href: URL.createObjectURL(new Blob([texts.join("\n\n") + "\n"], { type: "text/csv" })), download: "board.csv" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// --- drawings ------------------------------------------------------------------------------------------------------

const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const drawn = (name, attributes, ...children) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, one] of Object.entries(attributes)) made.setAttribute(key, one);
  made.append(...children);
  return made;
};
const ticks = (low, high) => {
  const raw = (high - low) / 5 || 1, unit = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map(one => one * unit).find(one => one >= raw);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step / 1e6; at += step) found.push(Number(at.toPrecision(6)));
  return found;
};

function axes(svg, box, x, y, across, up) {
  const grey = { stroke: "currentColor", "stroke-opacity": .15 };
  for (const at of ticks(...y.range)) {
    svg.append(drawn("line", { x1: box.left, x2: box.right, y1: y(at), y2: y(at), ...grey }),
      drawn("text", { x: box.left - 6, y: y(at) + 4, "text-anchor": "end" }, String(at)));
  }
  for (const at of ticks(...x.range)) {
    svg.append(drawn("line", { x1: x(at), x2: x(at), y1: box.top, y2: box.bottom, ...grey }),
      drawn("text", { x: x(at), y: box.bottom + 16, "text-anchor": "middle" }, at.toLocaleString("en")));
  }
  svg.append(drawn("text", { x: (box.left + box.right) / 2, y: box.bottom + 34, "text-anchor": "middle" }, across),
    drawn("text", { x: box.left, y: box.top - 8 }, up));
}

const scale = (low, high, from, to) => Object.assign(at => from + (at - low) / (high - low || 1) * (to - from), { range: [low, high] });

function curves(data, place) {
  const kinds = ["validation", "loss"].filter(kind => data.curves.some(one => one[kind]));
  const kind = element("select", {}, ...kinds.map(one => element("option", { value: one }, one === "validation" ? "validation accuracy, %" : "loss of meta-training")));
  const first = data.curves.filter(one => !one.folded && one[kinds[0]]).slice(0, 4);
  const choice = element("div", { className: "choice" }, ...data.curves.map((one, i) =>
    element("label", {}, element("input", { type: "checkbox", value: i, checked: first.includes(one) }), ` ${one.name}`)));
  choice.setAttribute("role", "group");
  choice.setAttribute("aria-label", "rows whose curves are drawn");
  const canvas = element("div");
  const draw = () => {
    const lines = $("input:checked", choice).map(box => data.curves[box.value]).filter(one => one[kind.value]);
    canvas.replaceChildren();
    if (!lines.length) return canvas.append(element("p", {}, "None of these rows has such a curve."));
    const box = { left: 50, right: 560, top: 26, bottom: 330 };
    const [steps, values] = [0, 1].map(i => lines.flatMap(one => one[kind.value][i]));
    const x = scale(Math.min(0, ...steps), Math.max(...steps), box.left, box.right);
    const y = scale(Math.min(...values), Math.max(...values), box.bottom, box.top);
    const svg = drawn("svg", { viewBox: "0 0 920 372", role: "img", "aria-label": `${kind.value} of ${lines.map(one => one.name).join(", ")}` });
    axes(svg, box, x, y, "meta-iteration", kind.selectedOptions[0].textContent);
    const ends = lines.map((one, i) => ({ one, i, at: y(one[kind.value][1].at(-1)) })).sort((a, b) => a.at - b.at);
    let last = -Infinity;
    for (const end of ends) end.label = last = Math.max(end.at, last + 15);
    for (const { one, i, at, label } of ends) {
      const look = { stroke: COLOURS[i % COLOURS.length], fill: "none", "stroke-width": 2, "stroke-dasharray": i < COLOURS.length ? "" : "6 3" };
      const points = one[kind.value][0].map((step, k) => `${x(step).toFixed(1)},${y(one[kind.value][1][k]).toFixed(1)}`);
      svg.append(drawn("polyline", { points: points.join(" "), ...look }),
        drawn("line", { x1: box.right + 4, x2: box.right + 22, y1: at, y2: label, ...look, "stroke-width": 1 }),
        drawn("text", { x: box.right + 26, y: label + 4 }, one.name.length > 52 ? `${one.name.slice(0, 51)}…` : one.name));
    }
    canvas.append(svg);
  };
  kind.addEventListener("change", draw);
  choice.addEventListener("change", draw);
  place.append(element("p", {}, element("label", {}, "Draw ", kind)), choice, canvas);
  if (kind.value === "validation") place.append(element("p", { className: "facts" }, "Validation rests on few tasks: small steps of a curve are noise."));
  draw();
}

function answers(data, method, column) {
  const { text, letters, seeds } = data.tasks[method].counts[column];
  const found = [];
  for (let at = 0; at < text.length; at += letters) {
    let count = 0;
    for (let i = at; i < at + letters; i += 1) count = count * data.digits.length + data.digits.indexOf(text[i]);
    found.push(100 * count / (data.shapes[column].total * seeds));
  }
  return found;
}

function tasks(data, place) {
  const pick = (label, options, start) => {
    const select = element("select", {}, ...options.map(([one, text]) => element("option", { value: one }, text)));
    select.value = start;
    place.append(element("label", {}, `${label} `, select), " ");
    select.addEventListener("change", () => draw());
    return select;
  };
  const column = pick("Tasks", data.shapes.map((one, i) => [i, one.title]), 0);
  const names = data.tasks.map((one, i) => [i, one.name]);
  const [first, second] = [pick("method A", names, 0), pick("method B", names, Math.min(1, names.length - 1))];
  const canvas = element("div");
  place.append(canvas);
  const draw = () => {
    canvas.replaceChildren();
    const [a, b] = [first, second].map(one => data.tasks[one.value].counts[column.value] && answers(data, one.value, column.value));
    if (!a || !b) return canvas.append(element("p", {}, "One of these methods did not answer these tasks."));
    const apart = a.map((one, i) => one - b[i]);
    const count = test => apart.filter(test).length;
    const mean = apart.reduce((sum, one) => sum + one, 0) / apart.length;
    const widest = apart.map((one, i) => [one, i]).sort((x, y) => Math.abs(y[0]) - Math.abs(x[0])).slice(0, 8)
      .map(([one, i]) => `${i} (${one > 0 ? "+" : "−"}${Math.abs(one).toFixed(1)})`).join(", ");
    canvas.append(element("p", {}, `A is better on ${count(one => one > 1e-9)} of ${apart.length} tasks, B on ${count(one => one < -1e-9)}, ` +
      `equal on ${count(one => Math.abs(one) <= 1e-9)}; A − B is ${mean < 0 ? "−" : "+"}${Math.abs(mean).toFixed(2)} points on average. They differ most on the tasks ${widest}.`));
    const low = Math.max(0, Math.min(...a, ...b) - 2), box = { left: 50, right: 430, top: 26, bottom: 406 };
    const [x, y] = [scale(low, 100, box.left, box.right), scale(low, 100, box.bottom, box.top)];
    const svg = drawn("svg", { viewBox: "0 0 920 450", role: "img", "aria-label": "accuracy of A against accuracy of B, a dot for each pair of values" });
    axes(svg, box, x, y, "accuracy of A, %", "accuracy of B, %");
    svg.append(drawn("line", { x1: x(low), y1: y(low), x2: x(100), y2: y(100), stroke: "currentColor", "stroke-dasharray": "4 3" }));
    const same = new Map();
    a.forEach((one, i) => { const key = `${one},${b[i]}`; same.set(key, (same.get(key) || 0) + 1); });
    for (const [key, times] of same) {
      const [one, other] = key.split(",").map(Number);
      svg.append(drawn("circle", { cx: x(one), cy: y(other), r: 1.6 * Math.sqrt(times), fill: one > other ? COLOURS[0] : COLOURS[1], "fill-opacity": .55 }));
    }
    const sorted = [...apart].sort((p, q) => q - p), most = Math.max(1, ...apart.map(Math.abs));
    const beside = { left: 520, right: 900, top: 26, bottom: 406 };
    const [u, v] = [scale(0, sorted.length, beside.left, beside.right), scale(-most, most, beside.bottom, beside.top)];
    axes(svg, beside, u, v, "tasks, sorted by A − B", "A − B, points");
    svg.append(drawn("polyline", { points: sorted.map((one, i) => `${u(i + .5).toFixed(1)},${v(one).toFixed(1)}`).join(" "), fill: "none", stroke: COLOURS[0], "stroke-width": 2 }));
    canvas.append(svg);
  };
  draw();
}

// --- start ---------------------------------------------------------------------------------------------------------

for (const table of tables) {
  $("tbody.group", table).forEach((group, i) => { group.dataset.at = i; });
  $("tbody.group > tr:not(.about)", table).forEach(row => {
    row.dataset.said = `${row.querySelector(".who").textContent} ${row.id} ${row.dataset.side || ""} ${row.nextElementSibling?.querySelector("code")?.textContent || ""}`.toLowerCase();
  });
  for (const head of columns(table)) {
    unasked[keyOf(head)] = !head.matches(".off");
    const label = head.querySelector(".t");
    const button = element("button", { type: "button", className: "sort", textContent: label.textContent });
    button.addEventListener("click", () => clicked(head));
    label.replaceChildren(button);
  }
}
delete unasked.method;

const values = name => {
  if (name === "tier") return [...new Map($("tbody.head").map(one => [one.dataset.tier, one.querySelector("b").textContent]))];
  const found = new Set($("tbody.group > tr:not(.about)").flatMap(row => name === "side" ? facet(row, name).split(" ") : [facet(row, name)]).filter(Boolean));
  const sorted = [...found].sort();
  return name === "side" ? [["none", "none at all"], ...sorted.map(one => [`without ${one}`, `without ${one}`])] : sorted.map(one => [one, one]);
};
for (const name of FILTERS) {
  const options = values(name);
  if (options.length < 2) continue;
  const select = element("select", { name, id: `filter-${name}` }, element("option", { value: "" }, "any"),
    ...options.map(([one, text]) => element("option", { value: one }, text)));
  select.addEventListener("change", () => { state.filters[name] = select.value; apply(); });
  $id("filters").append(element("label", { htmlFor: select.id }, { tier: "length of training", side: "side information" }[name] || name), select);
}
for (const key of Object.keys(unasked)) {
  const head = $(`th[data-c^="${key}"]`).find(one => keyOf(one) === key);
  const box = element("input", { type: "checkbox", name: key });
  box.addEventListener("change", () => {
    if (box.checked === unasked[key]) delete state.show[key]; else state.show[key] = box.checked;
    apply();
  });
  $id("columns").append(element("label", { title: head.title }, box, ` ${key === "rank" ? "rank" : head.querySelector(".t").textContent}`));
}
for (const block of $("tr.about pre")) {
  const button = element("button", { type: "button", className: "copy", textContent: "Copy" });
  button.addEventListener("click", async () => {
    getSelection().selectAllChildren(block);
    try {
      await navigator.clipboard.writeText(block.textContent);
      button.textContent = "Copied";
    } catch { /* what is selected can be copied by hand */ }
  });
  block.after(button);
}
$id("q").addEventListener("input", event => { state.q = event.target.value; apply(); });
$id("csv").addEventListener("click", csv);
$id("reset").addEventListener("click", () => { state = fresh(); apply(); });
$id("unfold").addEventListener("click", () => {
  state.open = state.open.has("all") ? new Set() : new Set(["all"]);
  apply();
});
$("input.fold").forEach(box => box.addEventListener("change", () => {
  if (state.open.has("all")) state.open = new Set($("input.fold").map(one => line(one.closest("tbody")).id));
  state.open[box.checked ? "add" : "delete"](line(box.closest("tbody")).id);
  apply();
}));
document.addEventListener("click", event => {
  for (const pop of $("details.pop[open]")) if (!pop.contains(event.target)) pop.open = false;
});
document.addEventListener("keydown", event => {
  if (event.key === "Escape") for (const pop of $("details.pop[open]")) { pop.open = false; pop.querySelector("summary").focus(); }
});
for (const place of $(".drawn")) {
  const data = JSON.parse($id(`${place.dataset.of}.data`).textContent);
  // Curves of equal length share their steps.
  for (const one of data.curves) for (const kind of ["validation", "loss"]) if (one[kind]) one[kind][0] = data.steps[one[kind][0]];
  for (const [kind, draw, enough] of [["curves", curves, data.curves.length], ["tasks", tasks, data.tasks.length > 1]]) {
    const details = place.querySelector(`.${kind}`);
    details.hidden = !enough;
    details.addEventListener("toggle", () => draw(data, details.querySelector(".draw")), { once: true });
  }
  place.hidden = false;
}
window.addEventListener("hashchange", () => { if (location.hash.startsWith("#view?")) { read(); apply(false); } });
document.querySelector(".tools").hidden = false;
read();
apply(false);

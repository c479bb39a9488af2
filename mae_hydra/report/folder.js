"use strict";
// The list of the page of a folder: sorted, filtered, and the curves of the chosen runs in one plot. What comes from a
// run is only ever set as text.
(() => {
  const COLOURS = [0, 1, 2, 3, 4, 5, 6, 7].map((number) => `var(--series-${number})`);
  const FIRST = 8; // runs whose curves are shown at first
  const UNITS = { s: 1, m: 60, h: 3600, d: 86400, w: 604800, kB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 };
  const SVG = "http://www.w3.org/2000/svg";
  const $ = (id) => document.getElementById(id);
  const state = { column: null, down: true, chosen: null };
  let told = JSON.parse($("data").textContent);

  const rows = () => [...$("list").tBodies[0].rows];
  const run = (id) => told.runs.find((each) => each.id === id) || { facts: {}, measures: "" };
  const facts = (id) => run(id).facts;
  const finite = (text) => String(text).trim() !== "" && Number.isFinite(Number(text));

  function wantedOf(key, text) {
    const match = /^([\d.]+)\s*([A-Za-z]+)$/.exec(text);
    return ["age", "took", "size"].includes(key) && match && UNITS[match[2]] ? Number(match[1]) * UNITS[match[2]] : text;
  }

  function like(value, pattern) {
    const quoted = pattern.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&")).join(".*");
    return new RegExp(`^${quoted}$`).test(value);
  }

  function takes(row, word) {
    const match = /^([\w./@-]+?)(!=|<=|>=|=|<|>)(.*)$/.exec(word);
    if (!match) return row.textContent.toLowerCase().includes(word.toLowerCase());
    const [, key, how, text] = match;
    const all = facts(row.dataset.id);
    if (!(key in all) || text === "") return text === "";
    const value = all[key];
    const wanted = wantedOf(key, text);
    const numbers = finite(value) && value !== null && finite(wanted);
    const same = numbers ? Number(value) === Number(wanted) : like(String(value), String(wanted));
    if (how === "=") return same;
    if (how === "!=") return !same;
    if (!numbers) return false;
    return { "<": value < wanted, ">": value > wanted, "<=": value <= wanted, ">=": value >= wanted }[how];
  }

  function filter() {
    const words = $("filter").value.trim().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows()) {
      row.hidden = !words.every((word) => takes(row, word));
      count += !row.hidden;
    }
    for (const figure of document.querySelectorAll("figure[data-id]")) {
      const row = rows().find((each) => each.dataset.id === figure.dataset.id);
      figure.hidden = Boolean(row && row.hidden);
    }
    $("count").textContent = `${count} of ${told.runs.length}`;
  }

  function sort() {
    if (state.column === null) return;
    const keyed = rows().map((row) => {
      const cell = row.cells[state.column];
      const number = cell.dataset.value;
      return { row, key: number === undefined ? cell.textContent : number === "" ? null : Number(number) };
    });
    const sign = state.down ? 1 : -1;
    keyed.sort((a, b) => {
      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null);
      return sign * (typeof a.key === "number" ? a.key - b.key : a.key.localeCompare(b.key, undefined, { numeric: true }));
    });
    $("list").tBodies[0].append(...keyed.map((each) => each.row));
    [...$("list").tHead.rows[0].cells].forEach((cell, number) => {
      cell.setAttribute("aria-sort", number === state.column ? (state.down ? "ascending" : "descending") : "none");
    });
  }

  function element(name, attributes, parent) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (parent) parent.append(made);
    return made;
  }

  function ticks(low, high) {
    const rough = (high - low) / 4 || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough);
    const found = [];
    for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-9; at += step) found.push(Number(at.toPrecision(6)));
    return found;
  }

  function panel(metric, lines) {
    const [wide, tall, left, bottom, top] = [520, 300, 58, 34, 30];
    const xs = lines.flatMap((line) => line.x);
    const ys = lines.flatMap((line) => line.y);
    const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const X = (x) => left + ((x - x0) / (x1 - x0 || 1)) * (wide - left - 10);
    const Y = (y) => tall - bottom - ((y - y0) / (y1 - y0 || 1)) * (tall - bottom - top);
    const svg = element("svg", { viewBox: `0 0 ${wide} ${tall}`, class: "panel", role: "img", "aria-label": metric });
    element("text", { x: 4, y: 16, class: "title" }, svg).textContent = metric;
    for (const y of ticks(y0, y1)) {
      element("line", { x1: left, x2: wide - 10, y1: Y(y), y2: Y(y), class: "grid" }, svg);
      element("text", { x: left - 6, y: Y(y) + 4, "text-anchor": "end" }, svg).textContent = String(y);
    }
    for (const x of ticks(x0, x1)) {
      element("text", { x: X(x), y: tall - 14, "text-anchor": "middle" }, svg).textContent = String(x);
    }
    element("text", { x: wide - 10, y: tall - 1, "text-anchor": "end" }, svg).textContent = "step";
    for (const line of lines) {
      const points = line.x.map((x, n) => `${X(x).toFixed(1)},${Y(line.y[n]).toFixed(1)}`).join(" ");
      const drawn = element("polyline", { points, style: `stroke: ${line.colour}`, "data-id": line.id }, svg);
      element("title", {}, drawn).textContent = line.name;
      line.x.forEach((x, n) => {
        const seen = line.x.length <= 25;
        const fill = seen ? `fill: ${line.colour}` : "fill: transparent";
        const point = element("circle", { cx: X(x), cy: Y(line.y[n]), r: seen ? 2.5 : 5, style: fill, "data-id": line.id }, svg);
        element("title", {}, point).textContent = `${line.name}, step ${x}: ${line.y[n]}`;
      });
    }
    return svg;
  }

  function draw() {
    const chosen = rows().filter((row) => !row.hidden && state.chosen.has(row.dataset.id));
    const drawn = chosen.filter((row) => told.curves[row.dataset.id]);
    const colour = new Map(drawn.map((row, number) => [row.dataset.id, COLOURS[number % COLOURS.length]]));
    for (const row of rows()) {
      row.cells[0].firstElementChild.checked = state.chosen.has(row.dataset.id);
      row.cells[0].firstElementChild.disabled = !told.curves[row.dataset.id];
      row.cells[0].style.boxShadow = colour.has(row.dataset.id) ? `inset 4px 0 ${colour.get(row.dataset.id)}` : "";
    }
    const panels = new Map(); // losses of different tasks are no two values of one quantity
    const kinds = new Set(drawn.map((row) => run(row.dataset.id).measures));
    for (const row of drawn) {
      const { id } = row.dataset;
      for (const [metric, [x, y]] of Object.entries(told.curves[id])) {
        const title = metric.endsWith("loss") && kinds.size > 1 ? `${metric} (${run(id).measures})` : metric;
        if (!panels.has(title)) panels.set(title, []);
        panels.get(title).push({ x, y, id, name: facts(id).name, colour: colour.get(id) });
      }
    }
    const legend = document.createElement("ul");
    legend.className = "legend";
    for (const row of drawn.slice(0, 40)) {
      const item = document.createElement("li");
      const swatch = document.createElement("i");
      swatch.style.background = colour.get(row.dataset.id);
      item.append(swatch, facts(row.dataset.id).name);
      item.dataset.id = row.dataset.id;
      legend.append(item);
    }
    const place = $("curves");
    place.replaceChildren(...[...panels].sort().map(([title, lines]) => panel(title, lines)), legend);
    if (!panels.size) place.textContent = "no run with a curve is chosen";
    if (drawn.length > 40) legend.append(`… and ${drawn.length - 40} more`);
  }

  function highlight(event) {
    const id = event.target.dataset ? event.target.closest("[data-id]")?.dataset.id : undefined;
    for (const line of document.querySelectorAll("#curves svg [data-id]")) {
      line.classList.toggle("faint", event.type === "mouseover" && id !== undefined && line.dataset.id !== id);
    }
  }

  function apply() {
    sort();
    filter();
    draw();
  }

  function choose(pick) {
    state.chosen = new Set(rows().filter((row) => !row.hidden && told.curves[row.dataset.id]).filter(pick)
      .map((row) => row.dataset.id));
    draw();
  }

  async function refresh() {
    const answer = await fetch(location.href, { cache: "no-store" }).catch(() => null);
    if (!answer || !answer.ok) {
      $("count").textContent = "the server does not answer: this is what it said last";
      return;
    }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    told = JSON.parse(page.getElementById("data").textContent);
    $("list").tBodies[0].replaceWith(page.getElementById("list").tBodies[0]);
    for (const place of ["dl.facts", ".made", "#pictures", "#sweeps", "#what-failed"]) {
      const [ours, theirs] = [document.querySelector(place), page.querySelector(place)];
      if (ours && theirs) ours.replaceWith(theirs);
    }
    apply();
  }

  $("filter").addEventListener("input", () => { filter(); draw(); });
  $("choose").addEventListener("click", () => choose(() => true));
  $("none").addEventListener("click", () => choose(() => false));
  $("list").tHead.addEventListener("click", (event) => {
    const column = event.target.closest("th")?.cellIndex;
    if (!column) return;
    state.down = state.column === column ? !state.down : true;
    state.column = column;
    apply();
  });
  $("list").addEventListener("change", (event) => {
    const id = event.target.closest("tr").dataset.id;
    if (event.target.checked) state.chosen.add(id); else state.chosen.delete(id);
    draw();
  });
  $("curves").addEventListener("mouseover", highlight);
  $("curves").addEventListener("mouseout", highlight);
  $("filter").value = new URLSearchParams(location.search).get("filter") || "";
  filter();
  state.chosen = new Set(rows().filter((row) => !row.hidden).map((row) => row.dataset.id).filter((id) => told.curves[id]).slice(0, FIRST));
  apply();
  const every = Number(document.body.dataset.refresh);
  if (every) setInterval(refresh, 1000 * every);
})();

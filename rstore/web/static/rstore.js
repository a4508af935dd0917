// The pages work without this. It fetches the same URLs and shows them in place, moves a slider through the times of
// changes, and shows the present as it changes.

const main = document.getElementById("main");
const SAME = ["header", ".time .moment", ".time .steps", ".time .words", "article"];
const LIVE = [".time .moment", ".time .steps", "article"];
let dragging = false; // the first move of a slider makes an entry in the history, and the others replace that
let paused = false;
let tail = null;
let latest = 0;

// -- from page to page ------------------------------------------------------------------------------------------------

async function show(url, { entry = "push", parts = SAME } = {}) {
  const number = ++latest;
  const { pathname, search } = new URL(url, location.href);
  wanted = pathname + search;
  main.setAttribute("aria-busy", "true");
  let page;
  try {
    const answer = await fetch(url, { headers: { Accept: "text/html" } });
    page = new DOMParser().parseFromString(await answer.text(), "text/html");
    url = answer.url || url;
  } catch {
    if (number === latest) main.removeAttribute("aria-busy");
    if (entry !== null && number === latest) location.href = url;
    return;
  }
  const next = page.getElementById("main");
  if (number !== latest) return; // a later one is on its way, or there
  if (!next) return void (location.href = url);
  const isSame = new URL(url).pathname === shownPath && main.querySelector(".slider") && next.querySelector(".slider")
    && main.querySelectorAll("input[type=range]").length === next.querySelectorAll("input[type=range]").length;
  const focused = document.activeElement;
  const held = heirs(focused);
  if (entry === "push") history.pushState(null, "", url);
  if (entry === "replace") history.replaceState(null, "", url);
  document.title = page.title;
  if (isSame) {
    for (const part of parts) {
      const [old, fresh] = [main.querySelector(part), next.querySelector(part)];
      if (old && fresh) old.replaceWith(fresh);
    }
    if (!dragging) renew(next);
  } else {
    main.replaceChildren(...next.childNodes);
    if (entry === "push") scrollTo(0, 0);
  }
  for (const { name } of [...main.attributes]) if (name !== "id") main.removeAttribute(name);
  for (const { name, value } of next.attributes) main.setAttribute(name, value);
  shownPath = new URL(url).pathname;
  enhance();
  if (held && !document.contains(focused)) pass(held);
}

let shownPath = location.pathname;
let wanted = shownPath + location.search; // what was last asked for

addEventListener("popstate", () => {
  if (location.pathname + location.search !== wanted) show(location.href, { entry: null }); // or it is a place in the page
});

// Return selectors of what may take the focus over from an element that is replaced.
function heirs(element) {
  if (!main.contains(element)) return null;
  const { rel, name, type } = element;
  const href = element.getAttribute("href");
  return [rel && `.time a[rel=${rel}]`, href && `a[href="${CSS.escape(href)}"]`, name && type !== "range" && `[name="${CSS.escape(name)}"]`, "h1"];
}

function pass(heirs) {
  const heir = heirs.map((each) => each && main.querySelector(each)).find(Boolean);
  if (heir?.tagName === "H1") heir.tabIndex = -1;
  heir?.focus({ preventScroll: true });
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  if (link.origin !== location.origin || link.target || link.hasAttribute("download") || link.hash) return;
  event.preventDefault();
  show(link.href);
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "get" || form.hasAttribute("data-plain")) return;
  event.preventDefault();
  const url = new URL(form.action);
  url.search = new URLSearchParams([...new FormData(form, event.submitter)].filter(([, value]) => value));
  show(url.href);
});

// -- the slider -------------------------------------------------------------------------------------------------------

function times() {
  return JSON.parse(main.querySelector(".slider").dataset.times);
}

function text(time) {
  return time === undefined ? "now" : new Date(time).toISOString().replace("T", " ").replace("Z", "");
}

// Return the place of a time among others: that of the last one up to it.
function place(all, time) {
  let [low, high] = [0, all.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (all[middle] <= time) low = middle + 1;
    else high = middle;
  }
  return Math.max(0, low - 1);
}

function renew(next) {
  const [old, fresh] = [main.querySelector(".slider"), next.querySelector(".slider")];
  old.dataset.times = fresh.dataset.times;
  for (const range of old.querySelectorAll("input")) range.max = times().length;
}

function slide(range) {
  const all = times();
  const time = main.dataset[range.dataset.word];
  if (!dragging) range.value = time ? place(all, +time) : all.length;
  const output = range.closest(".slider").querySelector("output");
  range.setAttribute("aria-valuetext", text(all[range.value]));
  range.oninput = () => {
    const time = times()[range.value];
    output.textContent = text(time);
    range.setAttribute("aria-valuetext", text(time));
    clearTimeout(range.timer);
    const first = !dragging;
    dragging = true;
    range.timer = setTimeout(() => show(moved(range.dataset.word, time), { entry: first ? "push" : "replace" }), 60);
  };
  range.onchange = () => setTimeout(() => { dragging = false; output.textContent = ""; }, 120);
}

function moved(word, time) {
  const url = new URL(location.href);
  if (time === undefined) url.searchParams.delete(word);
  else url.searchParams.set(word, time);
  url.searchParams.delete("after");
  url.searchParams.delete("before");
  return url.href;
}

const OTHERS = "input:not([type=range], [type=checkbox]), select, textarea, .plot"; // keys are theirs

document.addEventListener("keydown", (event) => {
  const isRun = event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.matches("textarea");
  if (isRun) event.target.form.requestSubmit();
  if (event.metaKey || event.ctrlKey || event.altKey || event.target.closest(OTHERS)) return;
  if (event.key.startsWith("Arrow") && event.target.type === "range") return;
  const links = { ArrowLeft: ".time a[rel=prev]", ArrowRight: ".time a[rel=next]", n: ".time a.now" };
  const link = links[event.key] && main.querySelector(links[event.key]);
  const field = event.key === "/" && main.querySelector("input[type=search], article input, article textarea");
  if (link) link.click();
  else if (field) field.focus();
  else if (event.key === "p") main.querySelector(".pause:not([hidden])")?.click();
  else return;
  event.preventDefault();
});

// -- the present ------------------------------------------------------------------------------------------------------

function listen() {
  const isLive = main.dataset.tail && !main.dataset.at && !paused;
  const pause = main.querySelector(".pause");
  if (pause) {
    pause.hidden = !(main.dataset.tail && !main.dataset.at);
    pause.textContent = paused ? "resume" : "pause";
    pause.setAttribute("aria-pressed", paused);
    pause.onclick = () => {
      paused = !paused;
      listen();
      if (!paused) refresh();
    };
  }
  const live = main.querySelector(".live");
  if (live) live.hidden = !isLive;
  if (!isLive || (tail && tail.url !== new URL(main.dataset.tail, location.href).href)) {
    tail?.close();
    tail = null;
  }
  if (!isLive || tail) return;
  let lost = false;
  tail = new EventSource(main.dataset.tail);
  tail.onopen = () => lost && refresh(); // there may have been changes meanwhile
  tail.onerror = () => (lost = true);
  tail.onmessage = ({ data }) => {
    const { streams, many, work } = JSON.parse(data);
    const { kind, key, page } = main.dataset;
    const isShown = key === undefined ? streams.length : streams.some(([each, name]) => each === kind && name === key);
    if (many || isShown || (work && page === "work")) refresh();
  };
  tail.addEventListener("hello", ({ data }) => { // there may have been changes before it listened
    if (JSON.parse(data).changes !== +main.dataset.seen) refresh();
  });
  tail.addEventListener("state", ({ data }) => {
    const { error } = JSON.parse(data);
    const live = main.querySelector(".live");
    if (live) live.textContent = error ? `not live: ${error}` : "live";
  });
}

let pending = null;

function refresh() {
  pending ??= setTimeout(() => {
    pending = null;
    if (main.hasAttribute("aria-busy")) return refresh(); // it would take the place of the page that is on its way
    const field = document.activeElement?.closest("article input, article select, article textarea");
    if (!paused && !main.dataset.at && !field && !dragging) show(location.href, { entry: null, parts: LIVE });
  }, 250);
}

addEventListener("pagehide", () => tail?.close());

// -- plots ------------------------------------------------------------------------------------------------------------

let library = null;
let plots = [];

function loaded(source) {
  return (library ??= new Promise((resolve, reject) => {
    const script = Object.assign(document.createElement("script"), { src: source, onload: resolve, onerror: reject });
    document.head.append(script);
  }));
}

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// Return the columns of a plot: its times, and of each line one column, or the greatest and the least values.
function columns(plot) {
  const times = plot.times.map((time) => time / plot.per_second);
  const sides = plot.lines.flatMap(({ least, most }) => (plot.step ? [most, least] : [most]));
  return [times, ...sides];
}

function lines(plot, then) {
  const width = plot.step ? 1 : 1.5;
  return plot.lines.flatMap(({ name }, number) => {
    const isSlider = then === "compared" && plot.lines.length === 1; // then it has the colour of the slider of its time
    const stroke = color(isSlider ? "--past" : `--series-${(number % 4) + 1}`);
    const label = then ? `${name}, ${then}` : name;
    const shared = { stroke, width, dash: then === "compared" ? [4, 4] : undefined, spanGaps: Boolean(plot.step) };
    const points = { show: !plot.step && plot.times.length < 60 };
    const [most, least] = plot.step ? [`${label} max`, `${label} min`] : [label];
    return [most, least].filter(Boolean).map((label) => ({ ...shared, label, points }));
  });
}

function bands(plots) {
  let first = 1;
  return plots.flatMap((plot, number) => plot.lines.flatMap((_, line) => {
    const [most, least] = [first, first + 1];
    first += plot.step ? 2 : 1;
    return plot.step && !number ? [{ series: [most, least], fill: `${color(`--series-${(line % 4) + 1}`)}55` }] : [];
  }));
}

const DAY = ["\n{YYYY}-{MM}-{DD}", null, "\n{MM}-{DD}", null, null, null, 1];
const TICKS = [ // from so many seconds between two ticks on: the text of a tick, and what it has below at a new year or day
  [31536000, "{YYYY}", null, null, null, null, null, null, 1],
  [2419200, "{YYYY}-{MM}", null, null, null, null, null, null, 1],
  [86400, "{MM}-{DD}", "\n{YYYY}", null, null, null, null, null, 1],
  [60, "{HH}:{mm}", ...DAY],
  [1, "{HH}:{mm}:{ss}", ...DAY],
  [0.001, "{HH}:{mm}:{ss}.{fff}", ...DAY],
];

async function draw(figure) {
  await loaded(figure.dataset.library);
  if (!figure.isConnected) return;
  const shown = [JSON.parse(figure.dataset.plot), JSON.parse(figure.dataset.other)].filter(Boolean);
  const [plot] = shown;
  const axis = { stroke: color("--soft"), grid: { stroke: color("--line"), width: 1 }, ticks: { stroke: color("--line") } };
  const options = {
    width: figure.clientWidth,
    height: Math.max(220, Math.min(420, innerHeight * 0.45)),
    scales: { x: { time: plot.unit !== null, range: [plot.start / plot.per_second, plot.end / plot.per_second] } },
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    series: [{ value: plot.unit === null ? undefined : "{YYYY}-{MM}-{DD} {HH}:{mm}:{ss}.{fff}" }, ...shown.flatMap((each, number) => lines(each, shown.length > 1 ? ["shown", "compared"][number] : ""))],
    bands: bands(shown),
    axes: [plot.unit === null ? { ...axis, space: 130 } : { ...axis, values: TICKS, space: 80 }, { ...axis, size: 64 }],
    cursor: { drag: { setScale: false } },
    hooks: {
      setSelect: [({ select, posToVal }) => {
        if (select.width > 3) zoom(plot, posToVal(select.left, "x"), posToVal(select.left + select.width, "x"));
      }],
    },
  };
  const data = shown.length > 1 ? uPlot.join(shown.map(columns)) : columns(plot);
  figure.replaceChildren();
  plots.push(new uPlot(options, data, figure));
  figure.ondblclick = () => zoom(plot);
  figure.onkeydown = (event) => {
    const [low, high] = [plot.start / plot.per_second, plot.end / plot.per_second];
    const width = high - low;
    const spans = {
      "+": [low + width / 4, high - width / 4],
      "-": [low - width / 2, high + width / 2],
      ArrowLeft: [low - width / 4, high - width / 4],
      ArrowRight: [low + width / 4, high + width / 4],
      0: [],
    };
    if (!spans[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    zoom(plot, ...spans[event.key]);
  };
}

// Ask for a span of a plot, in seconds; without one, for all of it.
async function zoom(plot, low, high) {
  if (main.querySelector(".plot.fixed")) return;
  const url = new URL(location.href);
  const start = Math.max(plot.first, Math.round(low * plot.per_second));
  const end = Math.min(plot.last, Math.round(high * plot.per_second));
  const isAll = !(start > plot.first || end < plot.last);
  for (const [word, value] of [["start", start], ["end", end]]) {
    if (isAll) url.searchParams.delete(word);
    else url.searchParams.set(word, value);
  }
  if (end <= start) return;
  const hadFocus = document.activeElement?.matches(".plot");
  await show(url.href);
  if (hadFocus) main.querySelector(".plot")?.focus({ preventScroll: true });
}

function drawAll() {
  plots.forEach((each) => each.destroy());
  plots = [];
  for (const note of main.querySelectorAll(".with-script")) note.hidden = false;
  for (const figure of main.querySelectorAll(".plot")) draw(figure);
}

let resized = null;
addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(drawAll, 150);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);

// -- each page --------------------------------------------------------------------------------------------------------

function enhance() {
  const slider = main.querySelector(".slider");
  if (slider) {
    slider.hidden = false;
    slider.querySelectorAll("input").forEach(slide);
  }
  drawAll();
  listen();
}

enhance();

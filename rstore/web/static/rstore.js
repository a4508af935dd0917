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

// -- each page --------------------------------------------------------------------------------------------------------

function enhance() {
  const slider = main.querySelector(".slider");
  if (slider) {
    slider.hidden = false;
    slider.querySelectorAll("input").forEach(slide);
  }
  listen();
}

enhance();

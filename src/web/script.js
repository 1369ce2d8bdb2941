// Keeps a page as its server would show it now, sorts and filters the table of targets, and shows what is known of a node.
// Everything is on the page without it. What is replaced is what changed and nothing else, so that focus, scroll and what is
// open stay. New content comes from the page itself, parsed where nothing in it runs.
"use strict";

(() => {
  const PAUSE = 5000;
  // A page that is slow to make is asked for less often: at most this share of the time is spent on it.
  const SHARE = 20;
  const one = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // ---- The table of targets: which column sorts it, which way, and what filters it. Kept in the address, so that links have it.

  const table = { column: null, descending: false, filter: "" };

  const readAddress = () => {
    const wanted = new URLSearchParams(location.hash.slice(1));
    const [column, way] = (wanted.get("sort") || "").split(":");
    table.column = column || null;
    table.descending = way === "desc";
    table.filter = wanted.get("filter") || "";
  };

  const writeAddress = () => {
    const wanted = new URLSearchParams();
    if (table.column) wanted.set("sort", table.column + (table.descending ? ":desc" : ""));
    if (table.filter) wanted.set("filter", table.filter);
    const text = wanted.toString();
    history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
  };

  const slug = (head) => head.textContent.trim().toLowerCase().replaceAll(" ", "-");

  const valueAt = (row, place) => {
    const cell = row.cells[place];
    const value = cell.dataset.value;
    if (value !== undefined) return Number(value);
    const text = cell.textContent.trim();
    return text === "\u2013" ? null : text;
  };

  const collator = new Intl.Collator("en", { numeric: true });

  const compare = (one, other) => {
    // What is not known stands at the end, whichever way is sorted.
    if (one === null || other === null) return (one === null) - (other === null);
    const order =
      typeof one === "number" && typeof other === "number"
        ? one - other
        : collator.compare(String(one), String(other));
    return table.descending ? -order : order;
  };

  // Sorts and filters the table of a document, this one or one that is to replace it.
  const arrange = (root) => {
    const targets = one("#targets", root);
    if (!targets) return;
    const heads = all("thead th", targets);
    for (const head of heads) {
      const name = slug(head);
      if (!head.hasAttribute("data-fixed") && !one("button", head)) {
        const button = root.createElement("button");
        button.type = "button";
        button.append(...head.childNodes);
        head.append(button);
      }
      if (name === table.column) head.setAttribute("aria-sort", table.descending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    const body = targets.tBodies[0];
    const rows = [...body.rows];
    const place = heads.findIndex((head) => slug(head) === table.column && !head.hasAttribute("data-fixed"));
    if (place >= 0) {
      const keyed = rows.map((row, index) => ({ row, index, value: valueAt(row, place) }));
      keyed.sort((one, other) => compare(one.value, other.value) || one.index - other.index);
      if (keyed.some(({ index }, now) => index !== now)) body.append(...keyed.map(({ row }) => row));
    }
    const words = table.filter.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = words.length ? [0, 1, 2, 3].map((cell) => row.cells[cell].textContent).join(" ").toLowerCase() : "";
      row.hidden = !words.every((word) => text.includes(word));
      if (!row.hidden) shown += 1;
    }
    one("#tools", root).hidden = false;
    one("#shown", root).textContent = words.length ? `${shown} of ${rows.length}` : "";
  };

  // ---- Times, as long ago as they are.

  const ago = (seconds) => {
    if (seconds < 60) return `${Math.max(0, Math.round(seconds))} s ago`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
    if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h ago`;
    return `${Math.floor(seconds / 86400)} d ago`;
  };

  const age = (root, now) => {
    for (const time of all("time", root)) {
      const at = Date.parse(time.dateTime);
      if (!time.title) time.title = `${time.textContent} UTC`;
      time.textContent = ago((now - at) / 1000);
    }
  };

  const prepare = (root, now) => {
    arrange(root);
    age(root, now);
    const details = one("#details", root);
    if (details) details.hidden = false;
  };

  // ---- What is known of the node that is looked at, and its links.

  let looked = null;

  const look = (node) => {
    looked = node ? node.dataset.key : null;
    for (const link of all(".link.lit")) link.classList.remove("lit");
    const details = one("#details");
    if (!node || !details) return;
    const [name, ...rest] = one("title", node).textContent.split("\n");
    const strong = document.createElement("strong");
    strong.textContent = name;
    const words = rest.map((text) => {
      const word = document.createElement("span");
      word.textContent = text;
      return word;
    });
    details.replaceChildren(strong, ...words);
    const id = CSS.escape(node.dataset.node);
    for (const link of all(`.link[data-from="${id}"], .link[data-to="${id}"]`)) link.classList.add("lit");
  };

  const nodeOf = (event) => (event.target instanceof Element ? event.target.closest(".node[data-node]") : null);

  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  // The node that an arrow leads to: the nearest one of the next hop that way, or the next one of the same hop.
  const beside = (node, [across, down]) => {
    const hop = (other) => Number.parseInt(other.dataset.key, 10);
    const middle = (other) => {
      const { top, bottom } = one(".dot", other).getBoundingClientRect();
      return (top + bottom) / 2;
    };
    const way = (other) => (across ? (hop(other) - hop(node)) * across : (middle(other) - middle(node)) * down);
    const far = (other) => (across ? way(other) * 1e6 + Math.abs(middle(other) - middle(node)) : way(other));
    const others = all(".node[data-node]").filter((other) => (across || hop(other) === hop(node)) && way(other) > 0);
    return others.reduce((best, other) => (best && far(best) <= far(other) ? best : other), null);
  };

  const lookAgain = () => {
    if (looked !== null) look(one(`.node[data-key="${CSS.escape(looked)}"]`));
  };

  // ---- A document made like another, with as few changes as can be. Children with a key are known by it.

  const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.getAttribute("data-key") : null);

  const alike = (have, want) =>
    have !== null && keyOf(have) === null && have.nodeType === want.nodeType && have.nodeName === want.nodeName;

  const morph = (have, want) => {
    if (have.isEqualNode(want)) return;
    if (have.nodeType !== Node.ELEMENT_NODE) {
      have.nodeValue = want.nodeValue;
      return;
    }
    for (const { name } of [...have.attributes]) {
      // Whether it is open is up to the reader.
      const isReaders = name === "open" && have.nodeName === "DETAILS";
      if (!want.hasAttribute(name) && !isReaders) have.removeAttribute(name);
    }
    for (const { name, value } of [...want.attributes]) {
      if (have.getAttribute(name) !== value) have.setAttribute(name, value);
    }
    if (have.id === "details") return;
    const keyed = new Map();
    for (const child of have.children) if (keyOf(child) !== null) keyed.set(keyOf(child), child);
    let place = have.firstChild;
    for (const child of [...want.childNodes]) {
      const key = keyOf(child);
      const known = key === null ? (alike(place, child) ? place : null) : keyed.get(key);
      if (!known) {
        have.insertBefore(document.importNode(child, true), place);
        continue;
      }
      keyed.delete(key);
      if (known === place) place = place.nextSibling;
      else have.insertBefore(known, place);
      morph(known, child);
    }
    while (place) {
      const next = place.nextSibling;
      place.remove();
      place = next;
    }
  };

  // Whose route changed since the page was made last.
  const news = (have, want) => {
    const counts = (root) =>
      new Map(all("[data-changes]", root).map((element) => [element.dataset.key, Number(element.dataset.changes)]));
    const before = counts(have);
    const changed = [...counts(want)].filter(([key, count]) => before.has(key) && count > before.get(key));
    return changed.map(([key]) => key);
  };

  const tell = (names) => {
    if (!names.length) return;
    const few = names.slice(0, 3).join(", ");
    one("#news").textContent =
      names.length > 3 ? `The routes of ${few} and ${names.length - 3} more changed.` : `The route of ${few} changed.`;
    for (const row of all("tr[data-changes]")) row.classList.toggle("fresh", names.includes(row.dataset.key));
  };

  const show = (want) => {
    const main = one("main");
    const focused = document.activeElement;
    const changed = news(main, one("main", want));
    morph(main, one("main", want));
    if (document.title !== want.title) document.title = want.title;
    // An element that was moved has lost its focus.
    if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
    lookAgain();
    tell(changed);
  };

  // ---- Asking for the page anew, as long as somebody sees it.

  const live = one("#live");
  let timer = null;
  let lost = null;

  const say = (word, text) => {
    live.className = word;
    if (live.textContent !== text) live.textContent = text;
  };

  const refresh = async () => {
    timer = null;
    const began = performance.now();
    try {
      const answer = await fetch(location.pathname + location.search, { cache: "no-store", redirect: "error" });
      // Also the page of a target that is gone is a page.
      if (!answer.ok && answer.status !== 404) throw new Error(String(answer.status));
      const want = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (!one("main", want)) throw new Error("no page");
      prepare(want, Date.now());
      show(want);
      lost = null;
      say("live", "Live");
    } catch {
      lost ??= new Date();
      say("lost", `No answer since ${lost.toLocaleTimeString()}`);
    }
    later(Math.max(PAUSE, (performance.now() - began) * SHARE));
  };

  const later = (pause) => {
    clearTimeout(timer);
    timer = document.hidden ? null : setTimeout(refresh, pause);
  };

  document.addEventListener("visibilitychange", () => later(0));

  // ---- What the reader does.

  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element ? event.target.closest("#targets thead button") : null;
    if (!button) return;
    const column = slug(button.closest("th"));
    // Up, down, and as it was.
    if (table.column !== column) Object.assign(table, { column, descending: false });
    else if (!table.descending) table.descending = true;
    else Object.assign(table, { column: null, descending: false });
    writeAddress();
    if (table.column) arrange(document);
    else later(0);
    for (const head of all("#targets thead th")) if (!table.column) head.removeAttribute("aria-sort");
  });

  document.addEventListener("input", (event) => {
    if (event.target.id !== "filter") return;
    table.filter = event.target.value;
    writeAddress();
    arrange(document);
  });

  document.addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("focusin", (event) => {
    const node = nodeOf(event);
    if (node) look(node);
  });
  document.addEventListener("keydown", (event) => {
    const node = nodeOf(event);
    const next = node && event.key in ARROWS ? beside(node, ARROWS[event.key]) : null;
    if (!next) return;
    event.preventDefault();
    next.focus();
  });
  document.addEventListener("pointerover", (event) => {
    const node = nodeOf(event);
    if (node) look(node);
  });

  const follow = () => {
    readAddress();
    const filter = one("#filter");
    if (filter) filter.value = table.filter;
    prepare(document, Date.now());
  };

  addEventListener("hashchange", () => {
    if (one("#targets")) follow();
  });
  follow();
  say("live", "Live");
  later(PAUSE);
})();

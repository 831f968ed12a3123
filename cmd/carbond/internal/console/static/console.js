// Keeps a page fresh: the daemon tells which parts have changed. Everything is on the
// page without this.
"use strict";
const root = document.documentElement;
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const local = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium" });
const bar = document.getElementById("live"), note = document.createElement("span");
const pause = document.createElement("button"), theme = document.createElement("button");
const waiting = new Map(); // parts that came while the reader was using theirs
const quiet = 12000;       // ms without a word after which nobody is there
let source = null, heard = Date.now(), gone = false, paused = false;

function say(text) { if (note.textContent !== text) note.textContent = text; }

// Times: the server writes UTC; the reader's zone goes first, with UTC beside it.
function span(s) {
  if (s < 60) return s + " s";
  if (s < 3600) return Math.floor(s / 60) + " min";
  if (s < 86400) return Math.floor(s / 3600) + " h " + Math.floor(s / 60) % 60 + " min";
  return Math.floor(s / 86400) + " d " + Math.floor(s / 3600) % 24 + " h";
}
function tell(time) {
  const at = new Date(time.dateTime), s = Math.round((Date.now() - at) / 1000), utc = time.dateTime.slice(0, 19).replace("T", " ") + " UTC";
  const here = local.format(at);
  time.title = here + " " + zone + ", " + utc;
  const text = time.dataset.form === "due" && s >= 0 ? "now" : time.dataset.form !== "at" ? (s >= 0 ? span(s) + " ago" : s > -2 ? "now" : "in " + span(-s))
    : utc.startsWith(here) ? utc : here + " (" + (here.slice(0, 10) === utc.slice(0, 10) ? utc.slice(11) : utc) + ")";
  if (time.textContent !== text) time.textContent = text;
}
function times(within) { for (const t of within.querySelectorAll("time[data-form]")) tell(t); }

// A part is left alone while somebody selects text in it, stands or points on it.
function inUse(part) {
  const s = getSelection();
  return part.contains(document.activeElement) || part.matches(":hover") || (!s.isCollapsed && s.containsNode(part, true));
}
function put(part, html) {
  const scrolled = [...part.querySelectorAll(".wide")].map(b => b.scrollLeft);
  part.innerHTML = html;
  part.querySelectorAll(".wide").forEach((b, i) => { b.scrollLeft = scrolled[i] || 0; });
  times(part);
  part.classList.add("changed");
  setTimeout(() => part.classList.remove("changed"), 1500);
}
function offer(id, html) {
  const part = document.getElementById(id);
  waiting.delete(id);
  if (!part || part.innerHTML === html) return;
  if (paused || inUse(part)) waiting.set(id, html);
  else put(part, html);
}
function deliver() {
  for (const [id, html] of [...waiting]) offer(id, html);
}

// renew fetches the page once and takes over what differs: of the tables named, or
// of the whole page.
async function renew(tables) {
  const answer = await fetch(location.href, { cache: "no-store" });
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const old of document.querySelectorAll("[data-rows], [data-live]")) {
    const next = fresh.getElementById(old.id);
    if (!next || old.closest("[data-rows]") && !old.hasAttribute("data-rows")) continue;
    if (tables && !tables.includes(old.id)) continue;
    times(next);
    if (old.innerHTML !== next.innerHTML) { old.innerHTML = next.innerHTML; times(old); }
    document.getElementById(old.id + "-news")?.remove();
  }
}
function listChanged(id) {
  const body = document.getElementById(id);
  if (!body) return;
  if ("auto" in body.dataset && !paused && !inUse(body.closest(".wide"))) { renew([id]).catch(() => {}); return; }
  if (document.getElementById(id + "-news")) return;
  const line = document.createElement("p"), show = document.createElement("button");
  line.id = id + "-news";
  line.className = "news";
  show.textContent = "Show";
  show.addEventListener("click", () => { renew([id]).catch(() => {}); });
  line.append("Rows came or went. ", show);
  body.closest(".wide").before(line);
}

// lost says that nobody answers, and since when, in the place of the state: what
// stands there is not true any more.
function lost() {
  const since = Math.round((Date.now() - heard) / 1000);
  if (!gone) {
    gone = true;
    root.classList.add("gone");
    document.title = "carbond: no answer";
    const word = document.createElement("span"), time = document.createElement("span");
    word.className = "bad";
    word.textContent = "\u2717 No answer from carbond";
    time.id = "since";
    time.setAttribute("aria-hidden", "true"); // or it would be read out each second
    word.append(time);
    document.getElementById("state").replaceChildren(word);
    say("What stands here is old.");
  }
  document.getElementById("since").textContent = " for " + since + " s";
}
function alive() {
  heard = Date.now();
  if (!gone) return;
  gone = false;
  location.reload();
}
function open() {
  source?.close();
  const address = new URL(location.href);
  address.hash = "";
  address.searchParams.set("live", root.dataset.name);
  if (tail) address.searchParams.set("next", tail.dataset.next);
  source = new EventSource(address);
  source.addEventListener("record", e => {
    const r = JSON.parse(e.data);
    tail.dataset.next = r.next;
    held.push(r);
    if (held.length > 200) held.shift();
    admit();
  });
  source.addEventListener("hello", e => {
    const hello = JSON.parse(e.data);
    if (hello.build !== root.dataset.build) { location.reload(); return; }
    alive();
    if (!hello.known) renew().catch(() => {});
    say(paused ? "Paused." : "Live.");
  });
  source.addEventListener("update", e => {
    alive();
    const u = JSON.parse(e.data);
    for (const [id, html] of Object.entries(u.parts || {})) offer(id, html);
    for (const id of u.lists || []) listChanged(id);
    const state = document.querySelector("#state [data-title]");
    if (state) document.title = state.dataset.title;
    root.dispatchEvent(new CustomEvent("fresh"));
  });
  source.onerror = async () => {
    source.close(); // its address names a place that has been passed
    setTimeout(open, 2000);
    try { if ((await fetch("/healthz", { signal: AbortSignal.timeout(3000) })).ok) { heard = Date.now(); return; } } catch { /* nobody */ }
    lost();
  };
}

// New records of the changelog come to the top; while the reader is among them they
// wait behind a line that counts them.
const tail = document.querySelector("[data-next]"), held = [];
function admit() {
  if (!tail || !held.length) return;
  const busy = paused || inUse(tail.closest(".wide")) || tail.getBoundingClientRect().top < 0;
  let line = document.getElementById("held");
  if (busy) {
    if (!line) {
      line = document.createElement("p");
      line.id = "held";
      line.className = "news";
      tail.closest(".wide").before(line);
    }
    line.textContent = held.length + " new records wait until you are done.";
    return;
  }
  line?.remove();
  for (const r of held.splice(0)) {
    if (r.passed) tail.insertAdjacentHTML("afterbegin", '<tr><td colspan="6" class="quiet">' + r.passed + " more, faster than can be read</td></tr>");
    tail.insertAdjacentHTML("afterbegin", r.row);
    times(tail.firstElementChild);
    tail.firstElementChild.classList.add("changed");
  }
  while (tail.children.length > 200) tail.lastElementChild.remove();
}

function copyButtons() {
  if (!navigator.clipboard) return; // not over plain HTTP from afar
  for (const pre of document.querySelectorAll("pre")) {
    const copy = document.createElement("button"), what = pre.previousElementSibling;
    copy.textContent = "Copy";
    copy.setAttribute("aria-label", "Copy: " + what.textContent);
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(pre.textContent);
      copy.textContent = "Copied";
      setTimeout(() => { copy.textContent = "Copy"; }, 2000);
    });
    what.append(" ", copy);
  }
}

function dark() { return root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches; }
function nameTheme() { theme.textContent = dark() ? "Light" : "Dark"; theme.setAttribute("aria-label", (dark() ? "Light" : "Dark") + " colours"); }
theme.addEventListener("click", () => {
  root.dataset.theme = dark() ? "light" : "dark";
  document.cookie = "theme=" + root.dataset.theme + "; path=/; max-age=31536000; samesite=strict";
  nameTheme();
  root.dispatchEvent(new CustomEvent("theme"));
});
pause.textContent = "Pause";
pause.addEventListener("click", () => {
  paused = !paused;
  pause.textContent = paused ? "Go on" : "Pause";
  say(paused ? "Paused." : "Live.");
  deliver();
});
note.setAttribute("role", "status");
nameTheme();
bar.append(note, " ", pause, " ", theme);
times(document);
copyButtons();
if (!("still" in root.dataset)) open();
else pause.hidden = true;
setInterval(() => {
  times(document);
  deliver();
  admit();
  if (gone || source && Date.now() - heard > quiet) lost();
}, 1000);

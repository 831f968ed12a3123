// Keeps the page fresh: fetches it again and exchanges the parts that changed.
// Everything is on the page without this.
"use strict";
const every = 5000;
const bar = document.createElement("p");
const button = document.createElement("button");
const note = document.createElement("span");
let paused = false;
let heard = Date.now(); // when carbond last answered
let gone = false;

function say(text) {
  if (note.textContent !== text) note.textContent = text;
}

// A part is left alone while somebody selects text in it or stands on it.
function inUse(part) {
  const s = getSelection();
  return part.contains(document.activeElement) || (!s.isCollapsed && s.containsNode(part, true));
}

// exchange replaces what is in a part. Tables that were scrolled stay there.
function exchange(part, next) {
  const seen = new Map();
  for (const box of part.querySelectorAll(".wide, pre")) seen.set(box.getAttribute("aria-label") || box.textContent, box.scrollLeft);
  part.replaceChildren(...next.childNodes);
  for (const box of part.querySelectorAll(".wide, pre")) box.scrollLeft = seen.get(box.getAttribute("aria-label") || box.textContent) || 0;
}

// lost says that nobody answers, and since when, in the place of the state: what
// stands there is not true any more.
function lost() {
  document.title = "carbond: no answer";
  if (!gone) {
    const word = document.createElement("span"), since = document.createElement("span");
    word.className = "bad";
    word.textContent = "\u2717 No answer from carbond";
    since.id = "since";
    since.setAttribute("aria-hidden", "true"); // or it would be read out each second
    word.append(since);
    document.getElementById("state").replaceChildren(word);
    say("The figures below are old.");
  }
  gone = true;
  document.body.classList.add("gone");
  document.getElementById("since").textContent = " for " + Math.round((Date.now() - heard) / 1000) + " s";
}

async function refresh() {
  if (paused || document.hidden) return;
  try {
    const answer = await fetch(location.pathname, { cache: "no-store", signal: AbortSignal.timeout(every - 500) });
    if (!answer.ok) throw new Error(answer.status);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (fresh.getElementById("build").textContent !== document.getElementById("build").textContent) {
      location.reload(); // another version or mode: other parts
      return;
    }
    document.title = fresh.title;
    heard = Date.now();
    gone = false;
    document.body.classList.remove("gone");
    for (const part of document.querySelectorAll("[data-live]")) {
      const next = fresh.getElementById(part.id);
      if (next && next.innerHTML !== part.innerHTML && !inUse(part)) exchange(part, next);
    }
    say("Fresh every 5 s.");
  } catch {
    lost();
  }
}

function copyButtons() {
  if (!navigator.clipboard) return; // not over plain HTTP from afar
  for (const pre of document.querySelectorAll("pre")) {
    const copy = document.createElement("button");
    const what = pre.previousElementSibling;
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

note.setAttribute("role", "status");
button.textContent = "Pause";
button.addEventListener("click", () => {
  paused = !paused;
  button.textContent = paused ? "Go on" : "Pause";
  say(paused ? "Paused." : "Fresh every 5 s.");
  refresh();
});
bar.className = "live";
bar.append(note, " ", button);
document.querySelector("header").append(bar);
say("Fresh every 5 s.");
copyButtons();
setInterval(refresh, every);
setInterval(() => { if (gone) lost(); }, 1000);
document.addEventListener("visibilitychange", refresh);

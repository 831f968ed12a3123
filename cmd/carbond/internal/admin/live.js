// Keeps the page fresh: fetches it again and exchanges the parts that changed.
// Everything is on the page without this.
"use strict";
const every = 5000;
const bar = document.createElement("p");
const button = document.createElement("button");
const note = document.createElement("span");
let paused = false;

function say(text) {
  if (note.textContent !== text) note.textContent = text;
}

// A part is left alone while somebody selects text in it or stands on it.
function inUse(part) {
  const s = getSelection();
  return part.contains(document.activeElement) || (!s.isCollapsed && s.containsNode(part, true));
}

async function refresh() {
  if (paused || document.hidden) return;
  try {
    const answer = await fetch("/", { cache: "no-store", signal: AbortSignal.timeout(every - 500) });
    if (!answer.ok) throw new Error(answer.status);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (fresh.getElementById("build").textContent !== document.getElementById("build").textContent) {
      location.reload(); // another version or mode: other parts
      return;
    }
    document.title = fresh.title;
    for (const part of document.querySelectorAll("[data-live]")) {
      const next = fresh.getElementById(part.id);
      if (next && next.innerHTML !== part.innerHTML && !inUse(part)) part.replaceChildren(...next.childNodes);
    }
    say("Fresh every 5 s.");
  } catch {
    document.title = "carbond: no answer";
    say("No answer from carbond: the figures below are old.");
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
document.addEventListener("visibilitychange", refresh);

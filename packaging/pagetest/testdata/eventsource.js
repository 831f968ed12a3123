// Follows projects and their topic by Server-Sent Events while the daemon restarts and is
// killed: each change must come once, on top of the row that is there. The last change
// has the supply LAST. Arguments: the address, LAST.
const assert = require("node:assert");
const { EventSource } = require("eventsource");

const [base, last] = [process.argv[2], Number(process.argv[3])];

// follow opens a stream and hands its events on, until ended says that it has all.
function follow(path, handlers, ended) {
  return new Promise((done, fail) => {
    const source = new EventSource(base + path);
    let opened = 0;
    source.addEventListener("open", () => console.log("open", path, ++opened));
    source.addEventListener("reset", (e) => fail(new Error(path + " begins again: " + e.data)));
    source.addEventListener("error", (e) => {
      if (e.data) console.log(path, e.data); // of the daemon, which stops
      if (source.readyState === EventSource.CLOSED) fail(new Error(path + " has given up: " + e.code + " " + e.message));
    });
    for (const [name, handle] of Object.entries(handlers)) {
      source.addEventListener(name, (e) => {
        try {
          handle(JSON.parse(e.data));
        } catch (err) {
          source.close();
          fail(err);
        }
        if (!ended()) return;
        source.close();
        done(opened);
      });
    }
  });
}

const rows = new Map();
let supply = -1, whole = false;
function apply(d) {
  for (const { diff, item } of d.deltas) {
    const id = item.projectId;
    if (diff > 0) {
      assert(!rows.has(id), id + " comes twice");
      rows.set(id, item);
    } else {
      assert.deepStrictEqual(rows.get(id), item);
      rows.delete(id);
    }
  }
}
const views = follow("v1/projects/watch", {
  snapshot: (d) => {
    assert(!whole, "a second snapshot");
    apply(d);
    whole = d.end;
    supply = rows.get("P")?.supply ?? -1;
  },
  changes: (d) => {
    apply(d);
    if (!rows.has("P") || rows.get("P").supply === supply) return;
    assert.strictEqual(rows.get("P").supply, ++supply); // each transaction is an event
  },
}, () => supply === last);

const offsets = [], written = [];
const records = follow("v1/topics/carbon.public.verra/watch?from=earliest", {
  changes: (d) => {
    for (const r of d.records) {
      assert(!offsets.length || r.offset > offsets.at(-1), `offset ${r.offset} after ${offsets.at(-1)}`);
      offsets.push(r.offset);
      if (r.value.after?.project_id === "P") written.push(r.value.after.supply);
    }
  },
}, () => written.at(-1) === last);

const alive = setInterval(() => {}, 1000); // the pause before a new connection does not keep Node
Promise.all([views, records]).then((opened) => {
  clearInterval(alive);
  assert.deepStrictEqual(written, Array.from({ length: last + 1 }, (_, i) => i));
  console.log("all", written.length, "changes, once each, in", opened.join(" and "), "connections");
}).catch((err) => {
  console.error(err);
  process.exit(1);
});

// Reads lists as CSV and as lines of JSON with DuckDB, whose own guesses of the types must
// give what the API's JSON has. DuckDB reads addresses by an extension that it fetches
// from elsewhere, so Node fetches here. Arguments: the address, a folder.
const assert = require("node:assert");
const { writeFileSync } = require("node:fs");
const { DuckDBInstance } = require("@duckdb/node-api");

const [base, dir] = process.argv.slice(2);
(async () => {
  const db = await (await DuckDBInstance.create(":memory:")).connect();
  for (const [path, key, sums] of [
    ["projects", ["project_id", "projectId"], [["supply", "supply"], ["price_usd", "priceUsd"], ["vintage", "vintage"]]],
    ["finance", ["ticker", "ticker"], [["price", "price"], ["volume", "volume"], ["timestamp", "timestamp"]]],
    ["news", ["guid", "guid"], []],
  ]) {
    const first = await fetch(base + "v1/" + path);
    const address = base + "v1/" + path + "?as_of=" + first.headers.get("Carbond-Offset"); // the demo moves
    const { items } = await (await fetch(address)).json();
    for (const [i, form] of ["csv", "ndjson"].entries()) {
      const file = dir + "/" + path + "." + form;
      writeFileSync(file, await (await fetch(address + "&format=" + form)).text());
      const read = (form === "csv" ? "read_csv" : "read_json") + "('" + file + "')";
      const one = async (expression) => (await db.runAndReadAll("SELECT " + expression + " FROM " + read)).getRows()[0][0];
      assert.strictEqual(Number(await one("count(DISTINCT " + key[i] + ")")), items.length, file);
      for (const names of sums) {
        const values = items.map((item) => item[names[1]]).filter((v) => v !== null);
        assert.strictEqual(Number(await one("count(" + names[i] + ")")), values.length, file + " " + names[i]);
        const want = values.reduce((a, b) => a + b, 0), got = Number(await one("sum(" + names[i] + ")"));
        assert(Math.abs(got - want) <= 1e-9 * want, `${file} ${names[i]}: ${got}, want ${want}`);
      }
    }
  }
  console.log("all sums are right");
})().catch((err) => {
  console.error(err);
  process.exit(1);
});

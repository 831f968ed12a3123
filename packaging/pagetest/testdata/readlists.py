"""Reads lists as CSV and as lines of JSON from their addresses, as analysts do, and
compares both with the API's JSON. Argument: the address."""
import json
import sys
import urllib.request

import pandas

base = sys.argv[1]
for path, key, texts in (
    ("projects", "projectId", ["project_id", "project_name", "registry_status", "country", "registry", "methodology", "project_type", "region"]),
    ("projects?country=Brazil&order=-supply", "projectId", ["project_id", "project_name"]),
    ("finance", "ticker", ["ticker", "currency"]),
    ("news?page_size=50", "guid", ["guid", "title", "link", "published", "source", "summary"]),
    ("finance/KRBN/history?bucket=1m", "timestamp", []),
    ("totals?by=country", "group", ["group"]),
):
    more = "&" if "?" in path else "?"
    address = base + "v1/" + path + more
    with urllib.request.urlopen(address + "format=json") as answer:
        offset = answer.headers["Carbond-Offset"]
        items = json.load(answer)["items"]
    assert items, path
    if "history" not in path:  # the demo moves
        address += "as_of=" + offset + "&"
        with urllib.request.urlopen(address + "format=json") as answer:
            items = json.load(answer)["items"]
    table = pandas.read_csv(address + "format=csv&guard=0", dtype={t: "string" for t in texts}, keep_default_na=False, na_values=[""])
    lines = pandas.read_json(address + "format=ndjson", lines=True, convert_dates=False, dtype=False)
    items = items[: min(len(table), len(lines))] if "history" in path else items
    assert len(table) == len(items) and len(lines) == len(items), (path, len(table), len(lines), len(items))
    assert len(table.columns) == len(lines.columns) == len(items[0]), (path, list(table.columns), list(lines.columns))
    for i, item in enumerate(items):
        if "history" in path and i == len(items) - 1:
            continue  # it is the minute that goes on
        for column, name in zip(table.columns, lines.columns):
            want, cell, line = item[name], table[column][i], lines[name][i]
            if want is None or want == "":
                assert pandas.isna(cell) and (line is None or line == "" or pandas.isna(line)), (path, i, name, want, cell, line)
            elif isinstance(want, (int, float)) and not isinstance(want, bool):
                assert abs(float(cell) - want) <= 1e-12 * abs(want) and abs(float(line) - want) <= 1e-12 * abs(want), (path, i, name, want, cell, line)
            else:
                assert str(cell) == str(want) == str(line), (path, i, name, want, cell, line)
print("all cells are right")

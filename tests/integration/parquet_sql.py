"""Reads a Parquet file with DuckDB and with Arrow. Prints the rows of both as JSON.

Usage: parquet_sql.py FILE
"""

import json
import sys

import duckdb
import pyarrow.parquet

file = sys.argv[1]
columns = ", ".join(
    "TraceId SpanId ParentSpanId SpanName SpanKind ServiceName ResourceAttributes SpanAttributes Duration StatusCode"
    " StatusMessage Links ParentIsRemote".split()
)


def plain(value):
    """Returns a value for JSON, with each map as an object. Arrow returns a map as a list of pairs."""
    if isinstance(value, list) and value and isinstance(value[0], tuple):
        return dict(value)
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


# Times as numbers, because Python has only microseconds.
query = f"""
    SELECT {columns}, epoch_ns(Timestamp) AS Timestamp,
        [{{'Name': event.Name, 'Timestamp': epoch_ns(event.Timestamp)}} for event in Events] AS Events
    FROM read_parquet(?)
"""
result = duckdb.execute(query, [file])
names = [column[0] for column in result.description]
by_duckdb = [dict(zip(names, row)) for row in result.fetchall()]

table = pyarrow.parquet.read_table(file)
by_arrow = table.drop(["Timestamp", "Events"]).to_pylist()
starts = table["Timestamp"].cast("int64").to_pylist()
for row, start, events in zip(by_arrow, starts, table["Events"].chunk(0) if len(table) else []):
    row["Timestamp"] = start
    row["Events"] = [{"Name": event["Name"].as_py(), "Timestamp": event["Timestamp"].value} for event in events.values or []]
    for name in ("ResourceAttributes", "SpanAttributes"):
        row[name] = dict(row[name])

print(json.dumps([[plain(row) for row in rows] for rows in (by_duckdb, by_arrow)]))

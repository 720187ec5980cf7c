"""Runs the queries of examples/backends on saved traces, in DuckDB. Prints the rows of each query as JSON.

Usage: queries.py COMMIT. The folder `traces` of the working directory has the traces.
"""

import json
import pathlib
import sys

import duckdb

BACKENDS = pathlib.Path(__file__).parent.parent.parent / "examples/backends"


def main():
    connection = duckdb.connect()
    for preparation in ("load.sql", "functions.sql", "views.sql"):
        connection.execute((BACKENDS / preparation).read_text())
    answers = {}
    for query in sorted((BACKENDS / "queries").glob("*.sql")):
        cursor = connection.execute(query.read_text().replace("'COMMIT'", f"'{sys.argv[1]}'"))
        columns = [column[0] for column in cursor.description]
        answers[query.stem] = [dict(zip(columns, row)) for row in cursor.fetchall()]
    print(json.dumps(answers, default=str))


main()

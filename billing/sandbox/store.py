"""Where the sandbox keeps its state: one SQLite file (or memory), one writer at a time."""

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

JsonObject = dict[str, Any]

SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    customer TEXT,
    invoice TEXT,
    body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS objects_by_kind ON objects (kind, seq);
CREATE INDEX IF NOT EXISTS objects_by_customer ON objects (customer, kind, seq);
CREATE INDEX IF NOT EXISTS objects_by_invoice ON objects (invoice, kind, seq);
CREATE TABLE IF NOT EXISTS hidden_facts (id TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS answers (
    account TEXT NOT NULL,
    key TEXT NOT NULL,
    path TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    request_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    status INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (account, key)
);
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    due_at INTEGER NOT NULL,
    held INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    delivered_at INTEGER,
    abandoned_at INTEGER,
    last_answer TEXT
);
CREATE INDEX IF NOT EXISTS deliveries_open ON deliveries (due_at) WHERE delivered_at IS NULL AND abandoned_at IS NULL;
"""


@dataclass
class Query:
    """A question for objects of one kind: SQL conditions on the row with their values, newest first unless said."""

    kind: str
    conditions: list[str] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def where(self, condition: str, *values: Any) -> "Query":
        """Narrow the question; `condition` is SQL from our own code, never from a request."""
        self.conditions.append(condition)
        self.values.extend(values)
        return self

    def equals(self, name: str, value: str | int | bool) -> "Query":
        """Narrow to objects whose top-level field `name` has this value."""
        return self.where("json_extract(body, ?) = ?", f"$.{name}", value)

    def sql(self) -> str:
        """Return the WHERE clause, with a question mark for each value after the kind."""
        return " AND ".join(["kind = ?", *self.conditions])


class Store:
    """Objects by id, and beside them the facts that the API never shows. Safe to share between threads."""

    def __init__(self, path: str = ":memory:") -> None:
        self._lock = threading.RLock()
        self._depth = 0
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(SCHEMA)

    def close(self) -> None:
        """Close the file; the state stays in it."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the block alone and keep all of its changes or, when it raises, none. Blocks nest."""
        with self._lock:
            level, self._depth = self._depth, self._depth + 1
            self._connection.execute(f"SAVEPOINT level_{level}" if level else "BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._undo(level)
                raise
            else:
                self._connection.execute(f"RELEASE level_{level}" if level else "COMMIT")
            finally:
                self._depth = level

    def _undo(self, level: int) -> None:
        if level == 0:
            self._connection.execute("ROLLBACK")
            return
        self._connection.execute(f"ROLLBACK TO level_{level}")
        self._connection.execute(f"RELEASE level_{level}")

    def run(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Run one statement and return its rows."""
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def put(self, body: JsonObject) -> JsonObject:
        """Insert the object or replace the one with its id, which keeps its place in lists; return it."""
        row = (body["id"], body["object"], body.get("customer"), body.get("invoice"), json.dumps(body))
        self.run(
            "INSERT INTO objects (id, kind, customer, invoice, body) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE"
            " SET customer = excluded.customer, invoice = excluded.invoice, body = excluded.body",
            row,
        )
        return body

    def find(self, object_id: str, kind: str | None = None) -> JsonObject | None:
        """Return a fresh copy of the object with this id (and kind), or None."""
        rows = self.run("SELECT kind, body FROM objects WHERE id = ?", (object_id,))
        if not rows or (kind and rows[0]["kind"] != kind):
            return None
        return _parse(rows[0]["body"])

    def delete(self, object_id: str) -> None:
        """Remove the object and its hidden facts."""
        self.run("DELETE FROM objects WHERE id = ?", (object_id,))
        self.run("DELETE FROM hidden_facts WHERE id = ?", (object_id,))

    def place(self, object_id: str) -> int | None:
        """Return the object's place in the order of creation, or None."""
        rows = self.run("SELECT seq FROM objects WHERE id = ?", (object_id,))
        return int(rows[0]["seq"]) if rows else None

    def select(self, query: Query, *, limit: int = -1, oldest_first: bool = False) -> list[JsonObject]:
        """Return the objects of the query in the order of creation, newest first unless said; -1 means all."""
        order = "ASC" if oldest_first else "DESC"
        sql = f"SELECT body FROM objects WHERE {query.sql()} ORDER BY seq {order} LIMIT ?"
        return [_parse(row["body"]) for row in self.run(sql, (query.kind, *query.values, limit))]

    def count(self, query: Query) -> int:
        """Return how many objects the query has."""
        sql = f"SELECT count(*) FROM objects WHERE {query.sql()}"
        return int(self.run(sql, (query.kind, *query.values))[0][0])

    def counts(self) -> dict[str, int]:
        """Return how many objects of each kind there are."""
        return {row[0]: row[1] for row in self.run("SELECT kind, count(*) FROM objects GROUP BY kind ORDER BY kind")}

    def hide(self, object_id: str, facts: JsonObject) -> None:
        """Keep facts about an object that its API body never shows; a fact replaces the one of its name."""
        merged = {**self.hidden(object_id), **facts}
        self.run("REPLACE INTO hidden_facts (id, body) VALUES (?, ?)", (object_id, json.dumps(merged)))

    def forget(self, object_id: str, name: str) -> None:
        """Drop one hidden fact about an object."""
        facts = {key: value for key, value in self.hidden(object_id).items() if key != name}
        self.run("REPLACE INTO hidden_facts (id, body) VALUES (?, ?)", (object_id, json.dumps(facts)))

    def hidden(self, object_id: str) -> JsonObject:
        """Return the hidden facts about an object, empty when there are none."""
        rows = self.run("SELECT body FROM hidden_facts WHERE id = ?", (object_id,))
        return _parse(rows[0]["body"]) if rows else {}

    def setting(self, name: str) -> str | None:
        """Return a setting of this sandbox, or None."""
        rows = self.run("SELECT value FROM settings WHERE name = ?", (name,))
        return str(rows[0]["value"]) if rows else None

    def set_setting(self, name: str, value: str | None) -> None:
        """Keep a setting, or forget it with None."""
        self.run("DELETE FROM settings WHERE name = ?", (name,))
        if value is not None:
            self.run("INSERT INTO settings (name, value) VALUES (?, ?)", (name, value))


def _parse(text: str) -> JsonObject:
    parsed: JsonObject = json.loads(text)
    return parsed

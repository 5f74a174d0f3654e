"""What clients send: events and requests as text, and the statements that the product makes of events."""

import json
import random
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from metering.services.record_events import record_events
from metering.words import read_event
from plans.exact_json import moment_text
from tests.bench.dataset import SEED, DataSet
from tests.bench.installation import Server
from tests.bench.load import MARK, Statement
from tests.bench.subscribers import EVENT_NAME

# Different texts of one kind; after the last one the first comes again, with other keys.
BATCH_TEXTS = 16
SINGLE_TEXTS = 2_000
STATEMENT_TEXTS = 200


def batches(data: DataSet, *, size: int, hot_half: bool = False) -> list[list[dict[str, Any]]]:
    """Make batches of `size` events of random customers; with `hot_half` every second one is of the same customer."""
    chance = random.Random(f"{SEED} {size} {hot_half}")
    moment = moment_text(timezone.now())
    return [
        [
            {
                "eventName": EVENT_NAME,
                "customerId": data.hot if hot_half and chance.random() < 0.5 else chance.choice(data.typical),
                "eventValue": chance.randint(1, 5),
                "eventTimestamp": moment,
                "idempotencyKey": f"{MARK}-{number}",
                "properties": {"endpoint": f"/v1/{chance.randrange(20)}", "region": f"eu-{chance.randrange(3)}"},
            }
            for number in range(size)
        ]
        for _ in range(SINGLE_TEXTS if size == 1 else BATCH_TEXTS)
    ]


def event_requests(path: str, key: str, batched: list[list[dict[str, Any]]]) -> list[str]:
    """Write requests that send these batches; those of one event go to the endpoint for single ones."""
    if len(batched[0]) == 1:
        return [request("POST", path, key, event) for (event,) in batched]
    return [request("POST", f"{path}/batch", key, {"events": events}) for events in batched]


def request(method: str, path: str, key: str, body: Any = None) -> str:
    """Write one HTTP request."""
    text = "" if body is None else json.dumps(body, separators=(",", ":"))
    head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {key}"]
    if text:
        head += ["Content-Type: application/json", f"Content-Length: {len(text)}"]
    return "\r\n".join([*head, "", text])


def statements_of(batched: list[list[dict[str, Any]]]) -> list[list[Statement]]:
    """Have the product record batches, note the statements that it sends for each, and take them back."""
    # What is asked once in the life of a process is asked before the first one is noted.
    _statements(batched[0])
    return [_statements(events) for events in batched[:STATEMENT_TEXTS]]


def _statements(events: list[dict[str, Any]]) -> list[Statement]:
    at = timezone.now()
    read = [read_event(json.dumps(event).encode(), at=at) for event in events]
    noted: list[Statement] = []

    def note(execute: Any, sql: str, parameters: Any, many: bool, context: Any) -> Any:
        noted.append(Statement(sql, parameters))
        return execute(sql, parameters, many, context)

    with transaction.atomic():
        with connection.execute_wrapper(note):
            record_events(events=read, at=at)
        transaction.set_rollback(True)
    return noted


def plain_insert(events: list[dict[str, Any]], table: str) -> Statement:
    """Write the statement that inserts a batch into a table with the columns of ours, and does nothing else."""
    rows = [
        {
            "customer_id": int(event["customerId"].removeprefix("cus_")),
            "event_name": event["eventName"],
            "value": event["eventValue"],
            "occurred_at": event["eventTimestamp"],
            "idempotency_key": event["idempotencyKey"],
            "properties": event["properties"],
        }
        for event in events
    ]
    columns = "customer_id, event_name, value, occurred_at, idempotency_key, properties"
    sql = f"""
        INSERT INTO {table} ({columns}, timestamp_given, received_at)
        SELECT {columns}, true, %(at)s FROM json_to_recordset(%(rows)s::json) AS row(
            customer_id bigint, event_name text, value numeric, occurred_at timestamptz, idempotency_key text,
            properties jsonb
        )
        ON CONFLICT DO NOTHING
    """
    return Statement(sql, {"rows": json.dumps(rows), "at": timezone.now()})


def is_missing(server: Server, path: str, method: str = "POST") -> bool:
    """Tell whether the product has no such endpoint."""
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=30)) as connected:
        headers = {"Authorization": f"Bearer {server.key}", "Content-Type": "application/json"}
        # Half a body: an endpoint that is there refuses it and does nothing.
        connected.request(method, path, body=b"{" if method == "POST" else None, headers=headers)
        answer = connected.getresponse()
        # A path of several parts may be read as that of another endpoint, which then knows other methods.
        return answer.status == 405 or (answer.status == 404 and b"There is no endpoint" in answer.read())

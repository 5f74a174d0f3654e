"""Lists: newest first, in pages, with Stripe's cursors and filters."""

from collections.abc import Callable

from billing.sandbox.errors import Refusal, missing_object
from billing.sandbox.routes import Call
from billing.sandbox.store import JsonObject, Query, Store

PAGING = ("limit", "starting_after", "ending_before", "expand")
COMPARISONS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def list_object(data: list[JsonObject], *, url: str, has_more: bool = False) -> JsonObject:
    """Return one page in the shape of Stripe's lists."""
    return {"object": "list", "data": data, "has_more": has_more, "url": url}


def page(call: Call, query: Query, *, url: str, oldest_first: bool = False) -> JsonObject:
    """Return the page that the call's limit and cursors ask for, out of the objects of the query."""
    limit = call.value("limit", 10)
    if not 1 <= limit <= 100:
        raise Refusal("The limit must be between 1 and 100.", code="parameter_invalid_integer", param="limit")
    backwards = _apply_cursor(call, query, oldest_first)
    rows = call.store.select(query, limit=limit + 1, oldest_first=oldest_first != backwards)
    shown = rows[:limit]
    return list_object(shown[::-1] if backwards else shown, url=url, has_more=len(rows) > limit)


def _apply_cursor(call: Call, query: Query, oldest_first: bool) -> bool:
    """Narrow the query to one side of the cursor; return True when the page lies before it."""
    after, before = call.value("starting_after"), call.value("ending_before")
    if after and before:
        raise Refusal("You cannot use both starting_after and ending_before.", param="starting_after")
    for name, cursor in (("starting_after", after), ("ending_before", before)):
        if cursor:
            place = call.store.place(cursor)
            if place is None:
                raise missing_object(query.kind, cursor, param=name)
            query.where("seq > ?" if (name == "starting_after") == oldest_first else "seq < ?", place)
    return bool(before)


def filter_created(call: Call, query: Query) -> None:
    """Narrow the query by the `created` filter: one second, or bounds named gt, gte, lt, lte."""
    created = call.value("created")
    if isinstance(created, int):
        query.equals("created", created)
    for name, bound in created.items() if isinstance(created, dict) else ():
        query.where(f"json_extract(body, '$.created') {COMPARISONS[name]} ?", bound)


def filter_equal(call: Call, query: Query, *names: str) -> None:
    """Narrow the query by the parameters of these names, each a field of the object."""
    for name in names:
        value = call.value(name)
        if value is None:
            continue
        if name in ("customer", "invoice"):
            query.where(f"{name} = ?", value)
        else:
            query.equals(name, value)


def lister(kind: str, url: str, *fields: str) -> Callable[[Call], JsonObject]:
    """Return a handler that lists objects of a kind, filtered by `created` and by equality of the fields."""

    def handle(call: Call) -> JsonObject:
        query = Query(kind)
        filter_created(call, query)
        filter_equal(call, query, *fields)
        return page(call, query, url=url)

    return handle


def embedded(store: Store, query: Query, *, url: str, shown: int = 10) -> JsonObject:
    """Return the first objects of the query, oldest first, as a list inside another object."""
    rows = store.select(query, limit=shown, oldest_first=True)
    total = store.count(query)
    return {**list_object(rows, url=url, has_more=total > shown), "total_count": total}

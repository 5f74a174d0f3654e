"""Comparing our invoices, payments and refunds with Stripe's: read in slices, compared at the end, not repaired."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any

from django.db import connection, transaction

from billing.differences_sql import DIFFERENCES
from billing.exchange import ObjectAtStripe
from billing.models import (
    Checkout,
    Difference,
    Invoice,
    Payment,
    PaymentStatus,
    Reconciliation,
    ReconciliationStage,
    Refund,
    SeenAtStripe,
    StripeVoid,
)
from billing.services.send import LEASE
from plans.words import money_text

# What moved later is under way: its event, or our own answer, may be on its way.
UNDER_WAY = timedelta(minutes=10)
# At night the last weeks are compared, and everything once a week.
NIGHT_BEGINS_AT = time(3)
NIGHTLY_WINDOW = timedelta(days=35)
WHOLE_EVERY = timedelta(days=7)
# What seems to differ is read once more, one by one. More than this is one mistake, such as the key of another account.
MOST_LOOKS = 1000
GONE = "gone"


class AnotherSlice(Exception):
    """Somebody else has moved the reconciliation on; whoever raises this has nothing left to do for it."""


@dataclass(frozen=True, slots=True)
class Found:
    """Something that seems to differ; see `Difference`. Amounts are minor units, None where there is none.
    `is_fresh`: Stripe was asked a second time."""

    kind: str
    object_type: str
    object_id: str
    stripe_id: str
    our_status: str
    our_cents: int | None
    our_currency: str
    their_status: str
    their_cents: int | None
    their_currency: str
    made_at: datetime
    is_fresh: bool


def begin(*, since: datetime | None, at: datetime) -> Reconciliation:
    """Begin a reconciliation by hand, of what was made from `since` on, or of everything."""
    until = at - UNDER_WAY
    return Reconciliation.objects.create(is_nightly=False, since=since, until=until, began_at=at)


@transaction.atomic
def claim_nightly(*, at: datetime, now: datetime) -> Reconciliation | None:
    """Claim this night's reconciliation for a slice, for as long as the lease lasts; None when it is done, or somebody
    else is at it. What an earlier night has not finished is dropped: it is not true any more."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('candela: nightly reconciliation'))")
    night = _latest_night(at)
    nights = Reconciliation.objects.filter(is_nightly=True)
    nights.filter(began_at__lt=night, finished_at=None).delete()
    run = nights.filter(began_at__gte=night).order_by("-began_at").first()
    if run is None:
        run = Reconciliation(is_nightly=True, since=_nightly_since(at), until=at - UNDER_WAY, began_at=at)
    elif run.finished_at is not None or (run.leased_until is not None and run.leased_until > now):
        return None
    run.leased_until = now + LEASE
    run.save()
    return run


def _latest_night(at: datetime) -> datetime:
    tonight = datetime.combine(at.astimezone(UTC).date(), NIGHT_BEGINS_AT, UTC)
    return tonight if tonight <= at else tonight - timedelta(days=1)


def _nightly_since(at: datetime) -> datetime | None:
    whole = Reconciliation.objects.filter(since=None, finished_at__isnull=False, began_at__gt=at - WHOLE_EVERY)
    return at - NIGHTLY_WINDOW if whole.exists() else None


def release(run: Reconciliation) -> None:
    """Let the next slice begin at once."""
    Reconciliation.objects.filter(pk=run.pk, finished_at=None).update(leased_until=None)


@transaction.atomic
def keep_page(*, run: Reconciliation, objects: Sequence[ObjectAtStripe], cursor: str, now: datetime) -> None:
    """Keep those objects of a page that are ours, and where the next page begins, which may be another list's. What is
    none of ours is dropped: others may use the same account. Raises AnotherSlice."""
    _hold(run, now)
    type_ = run.stage
    _keep(run, _ours(run, type_, objects), type_, is_fresh=False)
    if type_ == ReconciliationStage.PAYMENTS:
        _learn_intents(run)
    stages = ReconciliationStage.values
    run.stage = type_ if cursor else stages[stages.index(type_) + 1]
    run.cursor, run.read = cursor, run.read + len(objects)
    run.save(update_fields=["stage", "cursor", "read"])


@transaction.atomic
def begin_list_again(*, run: Reconciliation, now: datetime) -> None:
    """Read the list from its beginning: the object at the cursor is gone. Raises AnotherSlice."""
    _hold(run, now)
    run.cursor = ""
    run.save(update_fields=["cursor"])


def _hold(run: Reconciliation, now: datetime) -> None:
    """Lock a reconciliation, unless somebody else has moved it on, and lengthen its lease."""
    there = Reconciliation.objects.select_for_update(no_key=True).filter(pk=run.pk, finished_at=None).first()
    if there is None or (there.stage, there.cursor) != (run.stage, run.cursor):
        raise AnotherSlice
    run.leased_until = now + LEASE
    run.save(update_fields=["leased_until"])


@dataclass(frozen=True, slots=True)
class _Ours:
    """An object with our own ids of it: see `SeenAtStripe`."""

    there: ObjectAtStripe
    our_id: str
    revision: str
    belongs_to: str = ""


def _ours(run: Reconciliation, type_: str, objects: Sequence[ObjectAtStripe]) -> list[_Ours]:
    match type_:
        case ReconciliationStage.INVOICES:
            return _our_invoices(objects)
        case ReconciliationStage.PAYMENTS:
            owners = _invoices_of(run, {one.stripe_invoice_id for one in objects})
            return [_Ours(one, "", "", owners[one.stripe_invoice_id]) for one in objects
                    if one.stripe_invoice_id in owners]  # fmt: skip
        case ReconciliationStage.INTENTS:
            known = set(Checkout.objects.filter(intent_id__in=_ids(objects)).values_list("intent_id", flat=True))
            return [_Ours(one, one.our_id, "") for one in objects if one.our_id or one.stripe_id in known]
        case ReconciliationStage.REFUNDS:
            return _our_refunds(run, objects)
        case _:
            payments = _payments_of(objects)
            return [_Ours(one, "", "", payments[one.intent_id]) for one in objects if one.intent_id in payments]


def _ids(objects: Iterable[ObjectAtStripe]) -> list[str]:
    return [one.stripe_id for one in objects]


def _our_invoices(objects: Sequence[ObjectAtStripe]) -> list[_Ours]:
    """Invoices that carry our id, or that we know by Stripe's. What we know counts: anybody may write metadata."""
    known = _known_invoices(_ids(objects))
    found = []
    for one in objects:
        our_id, revision = known.get(one.stripe_id, (one.our_id, one.revision))
        if our_id:
            found.append(_Ours(one, our_id, revision))
    return found


def _known_invoices(stripe_ids: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Our id and the revision of each invoice of Stripe's that we have noted."""
    ids = list(stripe_ids)
    voids = StripeVoid.objects.filter(stripe_invoice_id__in=ids)
    invoices = Invoice.objects.filter(stripe_invoice_id__in=ids)
    noted = [
        *voids.values_list("stripe_invoice_id", "invoice__public_id", "revision"),
        *invoices.values_list("stripe_invoice_id", "public_id", "stripe_revision"),
    ]
    return {str(stripe_id): (our_id, str(revision)) for stripe_id, our_id, revision in noted}


def _invoices_of(run: Reconciliation, stripe_ids: set[str]) -> dict[str, str]:
    """Our id of each invoice of Stripe's, as we have noted it, or as this reconciliation has read it."""
    read = run.seen.filter(type=ReconciliationStage.INVOICES, stripe_id__in=stripe_ids).exclude(our_id="")
    owners = dict(read.values_list("stripe_id", "our_id"))
    return owners | {stripe_id: our_id for stripe_id, (our_id, _) in _known_invoices(stripe_ids).items()}


def _our_refunds(run: Reconciliation, objects: Sequence[ObjectAtStripe]) -> list[_Ours]:
    """Refunds that carry our id, that we know by Stripe's, or that are of what was charged for an invoice of ours."""
    refunds = Refund.objects.filter(external_id__in=_ids(objects)).values_list("external_id", "public_id")
    known = {str(stripe_id): our_id for stripe_id, our_id in refunds}
    payments, charged = _payments_of(objects), _charged(run, objects)
    found = []
    for one in objects:
        our_id = known.get(one.stripe_id, one.our_id)
        if our_id or one.intent_id in charged or one.intent_id in payments:
            found.append(_Ours(one, our_id, "", payments.get(one.intent_id, "")))
    return found


def _charged(run: Reconciliation, objects: Sequence[ObjectAtStripe]) -> set[str]:
    """Intents that have paid an invoice of ours, as this reconciliation has read it, also where one had done so."""
    paid = run.seen.filter(type=ReconciliationStage.PAYMENTS, intent_id__in={one.intent_id for one in objects} - {""})
    return set(paid.values_list("intent_id", flat=True))


def _payments_of(objects: Iterable[ObjectAtStripe]) -> dict[str, str]:
    intents = {one.intent_id for one in objects} - {""}
    payments = Payment.objects.filter(status=PaymentStatus.SUCCEEDED, intent_id__in=intents)
    return {str(intent): our_id for intent, our_id in payments.values_list("intent_id", "public_id")}


def _keep(run: Reconciliation, ours: Iterable[_Ours], type_: str, *, is_fresh: bool) -> None:
    rows = []
    for one in ours:
        shown = asdict(one.there) | {"our_id": one.our_id, "revision": one.revision, "belongs_to": one.belongs_to}
        rows.append(SeenAtStripe(reconciliation=run, type=type_, is_fresh=is_fresh, **shown))
    SeenAtStripe.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["reconciliation", "type", "stripe_id"],
        update_fields=["our_id", "revision", "belongs_to", "status", "amount_cents", "paid_cents", "currency",
                       "stripe_invoice_id", "intent_id", "made_at", "is_fresh"],
    )  # fmt: skip


def _learn_intents(run: Reconciliation) -> None:
    """Note by which payment intent each payment was taken: refunds and disputes name nothing else."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE billing_payment payment SET intent_id = seen.intent_id
            FROM billing_seenatstripe seen
            WHERE seen.reconciliation_id = %(run)s AND seen.type = 'payment' AND seen.intent_id <> ''
                AND payment.external_id = seen.stripe_invoice_id AND payment.status = 'succeeded'
                AND payment.intent_id IS NULL
                AND NOT EXISTS (
                    SELECT FROM billing_payment other
                    WHERE other.intent_id = seen.intent_id AND other.status = 'succeeded'
                )
            """,
            {"run": run.pk},
        )


def to_look_at_again(*, run: Reconciliation, at: datetime, most: int) -> list[Found]:
    """Find what seems to differ and was read only once, `most` of it; nothing once enough was read again."""
    most = min(most, MOST_LOOKS - run.looked_again)
    if most <= 0:
        return []
    statement = f"{DIFFERENCES} SELECT * FROM everything WHERE NOT is_fresh ORDER BY made_at, stripe_id LIMIT %(most)s"
    return _rows(statement, run, at, most=most)


def begin_to_look_again() -> None:
    """Tell the database how much was read, before it compares: it plans by what it knows."""
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {SeenAtStripe._meta.db_table}")


@transaction.atomic
def keep_looks(*, run: Reconciliation, looks: Sequence[tuple[Found, ObjectAtStripe | None]], now: datetime) -> None:
    """Keep how objects stand that were read again; None is one that Stripe does not have. Raises AnotherSlice."""
    _hold(run, now)
    for found, there in looks:
        if there is None:
            gone = {"status": GONE, "is_fresh": True}
            run.seen.update_or_create(type=type_there(found), stripe_id=found.stripe_id, defaults=gone)
        else:
            _keep(run, _ours_again(run, type_there(found), there), type_there(found), is_fresh=True)
    run.looked_again += len(looks)
    run.save(update_fields=["looked_again"])


def _ours_again(run: Reconciliation, type_: str, there: ObjectAtStripe) -> list[_Ours]:
    """What was ours when it was read first, is so still; what was not seen before is known by Stripe's id."""
    return _ours(run, type_, [there]) or [_Ours(there, "", "")]


def type_there(found: Found) -> str:
    """Say in which of Stripe's lists an object stands."""
    return ReconciliationStage.INTENTS if found.object_type == "checkout" else found.object_type


@transaction.atomic
def finish(*, run: Reconciliation, at: datetime, now: datetime) -> None:
    """Write down what differs, close what does so no longer, and forget what was read. Raises AnotherSlice."""
    _hold(run, now)
    found = _rows(f"{DIFFERENCES} SELECT * FROM everything WHERE is_fresh ORDER BY made_at, stripe_id", run, at)
    seen_again = [_record(one, at) for one in found]
    covered = Difference.objects.filter(resolved_at=None)
    if run.since is not None:
        covered = covered.filter(made_at__gte=run.since)
    unsettled = _count_unsettled(run, at)
    if not unsettled:
        covered.exclude(pk__in=seen_again).update(resolved_at=at)
    run.finished_at, run.leased_until, run.unsettled = at, None, unsettled
    run.save(update_fields=["finished_at", "leased_until", "unsettled"])
    run.seen.all().delete()


def _record(found: Found, at: datetime) -> int:
    key = {
        "kind": found.kind,
        "object_type": found.object_type,
        "object_id": found.object_id,
        "stripe_id": found.stripe_id,
        "resolved_at": None,
    }
    shown = {
        "ours": _text(found.our_status, found.our_cents, found.our_currency) or "nothing",
        "theirs": _text(found.their_status, found.their_cents, found.their_currency),
        "last_seen_at": at,
    }
    # Two reconciliations at once may find the same: the constraint lets one write it, and the other one updates it.
    row, _ = Difference.objects.update_or_create(
        **key, defaults=shown, create_defaults=shown | {"made_at": found.made_at, "first_seen_at": at}
    )
    return row.pk


def _text(status: str, cents: int | None, currency: str) -> str:
    words = status.replace("_", " ")
    return f"{words}, {money_text(cents, currency)}" if cents is not None and currency else words


def _count_unsettled(run: Reconciliation, at: datetime) -> int:
    statement = f"{DIFFERENCES} SELECT count(*) FROM everything WHERE NOT is_fresh"
    with connection.cursor() as cursor:
        cursor.execute(statement, _values(run, at))
        return int(cursor.fetchone()[0])


def _rows(statement: str, run: Reconciliation, at: datetime, **more: Any) -> list[Found]:
    with connection.cursor() as cursor:
        cursor.execute(statement, _values(run, at) | more)
        return [Found(*row) for row in cursor.fetchall()]


def _values(run: Reconciliation, at: datetime) -> dict[str, Any]:
    return {"run": run.pk, "at": at, "until": run.until, "since": run.since}


def abandon(run: Reconciliation) -> None:
    """Drop a reconciliation that cannot be brought to its end, with what it has read."""
    Reconciliation.objects.filter(pk=run.pk, finished_at=None).delete()

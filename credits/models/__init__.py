from credits.models.definitions import ApplicationType, CreditDefinition, GrantTerms, Scope, SubscriptionCredit
from credits.models.grants import CreditGrant, GrantSource
from credits.models.ledger import CreditTransaction, TransactionKind, UsageDifference
from credits.models.months import CalendarMonth
from credits.models.packs import TopUpPack
from credits.models.reservations import Reservation, ReservationState

__all__ = [
    "ApplicationType",
    "CalendarMonth",
    "CreditDefinition",
    "CreditGrant",
    "CreditTransaction",
    "GrantSource",
    "GrantTerms",
    "Reservation",
    "ReservationState",
    "Scope",
    "SubscriptionCredit",
    "TopUpPack",
    "TransactionKind",
    "UsageDifference",
]

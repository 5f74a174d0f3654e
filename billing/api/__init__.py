"""The doors of the v1 API whose nouns are invoices, payments, payment methods and checkouts."""

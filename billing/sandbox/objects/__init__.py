"""Stripe's objects, one module per kind: its shape, its routes, what may happen to it."""

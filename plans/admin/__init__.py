"""The operator's pages of plans and customers, and what the pages of all apps are made of."""

from plans.admin import catalogue, customers, enrollment, plans  # noqa: F401 registers the pages

from credits.admin import definitions, grants

__all__ = ["definitions", "grants"]

"""What log records say beyond their message. Imported by settings, so it knows no model."""

import logging

import structlog


class RequestIdFilter(logging.Filter):
    """Puts the id of the request that is being answered on every log record as `request_id`, `-` outside of one."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = structlog.contextvars.get_contextvars().get("request_id", "-")
        return True

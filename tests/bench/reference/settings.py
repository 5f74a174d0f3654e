"""The benchmark's settings without any middleware: what the reference costs is its own work."""

from tests.bench.settings import *  # noqa: F403

MIDDLEWARE = []
ROOT_URLCONF = "tests.bench.reference.urls"

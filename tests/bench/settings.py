"""The project's settings, with a database and a few addresses of the benchmark's own."""

from config.settings import *  # noqa: F403
from config.settings import DATABASES, INSTALLED_APPS, env

DATABASES["default"]["NAME"] = env.str("BENCH_DATABASE", default=DATABASES["default"]["NAME"])
INSTALLED_APPS = [*INSTALLED_APPS, "tests.bench.reference"]
ROOT_URLCONF = "tests.bench.urls"

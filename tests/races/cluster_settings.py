"""The project's settings, with a test's database and number of workers, for the clusters that it starts."""

from config.settings import *  # noqa: F403
from config.settings import DATABASES, Q_CLUSTER, env

DATABASES["default"]["NAME"] = env.str("CLUSTER_DATABASE")
Q_CLUSTER["workers"] = env.int("CLUSTER_WORKERS", default=Q_CLUSTER["workers"])

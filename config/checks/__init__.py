"""What `manage.py check --deploy` says before others may reach an installation: each message names a setting, what is
wrong with it, and what to do. With `--database default` it looks into the database, too.

The numbers of messages stay: E is wrong or unsafe, W works but is hardly meant.
"""

from config.checks import business, server, stored

__all__ = ["business", "server", "stored"]

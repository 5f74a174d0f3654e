"""Django's PostgreSQL backend, with the server started by the first connection."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.backends.postgresql import base
from django.db.backends.postgresql.client import DatabaseClient as PostgreSQLClient

from config.embedded_postgres.cluster import PORT, SUPERUSER, programs_folder
from config.embedded_postgres.server import EmbeddedServer, embedded_server


def project_server() -> EmbeddedServer:
    """Find the server of this installation, running or not."""
    return embedded_server(Path(settings.CANDELA_DATA))


class DatabaseClient(PostgreSQLClient):
    """`manage.py dbshell`, with the psql that came along."""

    def runshell(self, parameters: Iterable[str]) -> None:
        """Start psql on the embedded server."""
        self.executable_name = str(programs_folder() / "psql")
        address = {"HOST": project_server().socket_folder(), "PORT": PORT, "USER": SUPERUSER}
        self.connection.settings_dict = self.connection.settings_dict | address
        super().runshell(parameters)

    @classmethod
    def settings_to_cmd_args_env(
        cls, settings_dict: dict[str, Any], parameters: Iterable[str]
    ) -> tuple[list[str], dict[str, str] | None]:
        """Build psql's command line; its full path stands in for the name, as it is in no folder of PATH."""
        arguments, environment = super().settings_to_cmd_args_env(settings_dict, list(parameters))
        return [str(programs_folder() / "psql"), *arguments[1:]], environment


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection to the embedded server. Nothing is started before the first one is opened."""

    client_class = DatabaseClient

    def get_connection_params(self) -> dict[str, Any]:
        """Add the server's address to Django's parameters. In full, so that no PG… variable leads elsewhere."""
        address = {"host": project_server().socket_folder(), "port": PORT, "user": SUPERUSER}
        return super().get_connection_params() | address

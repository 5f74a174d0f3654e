"""The life of the embedded server: the first connection starts it, processes share it, the last to leave stops it.

Every process that connected holds a shared lock until it ends. The kernel gives the lock back however it ends, so a
killed process never counts, and a process is the last one exactly if it can get the lock for itself alone. A process
that had no time to leave (SIGKILL) leaves the server running, and the next one to come takes it over.
"""

import fcntl
import logging
import os
import threading
from contextlib import suppress
from multiprocessing import util as multiprocessing_util
from pathlib import Path

from config.embedded_postgres import cluster, folders
from config.locks import change_lock, exclusive, open_lock, try_lock

logger = logging.getLogger(__name__)

# After multiprocessing ended and awaited our children: they use the server up to then.
LAST_OF_ALL = -100


class EmbeddedServer:
    """The server of one data folder, as this process sees it. Made through `embedded_server` only."""

    def __init__(self, folder: Path) -> None:
        self._data = folder / "postgres"
        self._change_lock = change_lock(self._data)
        self._users_lock = folder / "postgres.users"
        self._membership: int | None = None
        self._childs_membership: int | None = None
        self._guard = threading.RLock()
        os.register_at_fork(
            before=self._before_fork,
            after_in_parent=self._after_fork_in_parent,
            after_in_child=self._after_fork_in_child,
        )
        # multiprocessing forgets, in its children, what its parent wanted done at exit.
        multiprocessing_util.register_after_fork(self, EmbeddedServer._leave_at_exit)

    def socket_folder(self) -> str:
        """Answer where the server listens, for libpq's `host`, after starting it or joining its users where needed."""
        with self._guard:
            listens_in = cluster.serving_socket_folder(self._data) if self._membership is not None else None
            return listens_in or self._join()

    def leave(self) -> None:
        """Stop using the server; the last user stops it. Does nothing in a process that does not use it."""
        with self._guard:
            if self._membership is None:
                return
            membership, self._membership = self._membership, None
            try:
                with exclusive(self._change_lock):
                    if try_lock(membership, fcntl.LOCK_EX):
                        self._stop()
            except FileNotFoundError:
                logger.warning("%s was removed while its database ran.", self._data.parent)
            finally:
                os.close(membership)

    def _join(self) -> str:
        """Become a user of the server, starting it where it does not run; answers where it listens."""
        programs, account = cluster.programs_folder(), cluster.account_for(self._data)
        self._data.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(self._change_lock):
            if self._membership is None:
                # Before the start, so that what an interrupted one leaves behind is stopped at our end.
                self._membership = self._enter()
                self._leave_at_exit()
            if cluster.serving_socket_folder(self._data) is None:
                self._start(programs, account)
        listens_in = cluster.serving_socket_folder(self._data)
        if listens_in is None:
            raise RuntimeError(f"PostgreSQL ended right after its start: {self._data / 'server.log'} says why.")
        return listens_in

    def _start(self, programs: Path, account: cluster.Account | None) -> None:
        """Start the server; as root, open its way first and say so."""
        if account is not None:
            opened = folders.open_way(self._data, to=(self._data, programs))
            if opened:
                logger.warning(
                    "PostgreSQL does not run as root: while it runs as another account, others may pass through "
                    "(not list) %s. This is taken back when it stops.",
                    ", ".join(map(str, opened)),
                )
        cluster.start(self._data, account)

    def _stop(self) -> None:
        """Stop the server; as root, close its way again."""
        account = cluster.account_for(self._data)
        cluster.stop(self._data, account)
        if account is not None:
            folders.close_way(self._data)

    def _enter(self) -> int:
        """Take a share of the users' lock. Nobody is about to stop the server while this is called."""
        handle = open_lock(self._users_lock)
        fcntl.flock(handle, fcntl.LOCK_SH)
        return handle

    def _before_fork(self) -> None:
        """Take a share for the child, as it may outlive us; and let no change be half done when it comes to be."""
        self._guard.acquire()
        if self._membership is not None:
            with suppress(FileNotFoundError):
                self._childs_membership = self._enter()

    def _after_fork_in_parent(self) -> None:
        """Leave the child its share."""
        if self._childs_membership is not None:
            os.close(self._childs_membership)
            self._childs_membership = None
        self._guard.release()

    def _after_fork_in_child(self) -> None:
        """Use the share taken for us, and not our parent's."""
        self._guard = threading.RLock()
        inherited, self._membership, self._childs_membership = self._membership, self._childs_membership, None
        if inherited is not None:
            os.close(inherited)
            self._leave_at_exit()

    def _leave_at_exit(self) -> None:
        """Have `leave` called when this process ends, also in a child of multiprocessing, which has no atexit."""
        multiprocessing_util.Finalize(None, self.leave, exitpriority=LAST_OF_ALL)


_servers: dict[Path, EmbeddedServer] = {}
_servers_guard = threading.Lock()


def embedded_server(folder: Path) -> EmbeddedServer:
    """Find the one `EmbeddedServer` of this process for a data folder."""
    with _servers_guard:
        if folder not in _servers:
            _servers[folder] = EmbeddedServer(folder)
        return _servers[folder]

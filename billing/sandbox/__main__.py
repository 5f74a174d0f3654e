"""`python -m billing.sandbox --port 12111 --state sandbox.sqlite3` runs the sandbox until it is told to stop."""

import argparse
import logging

from billing.sandbox.server import AlreadyServed, serve


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(
        prog="python -m billing.sandbox",
        description="Candela's own stand-in for Stripe, on 127.0.0.1 only. It is not Stripe; no money moves.",
    )
    parser.add_argument("--port", type=int, default=12111, help="port to listen on; 0 takes a free one")
    parser.add_argument("--state", default=":memory:", metavar="FILE", help="SQLite file that keeps the state")
    parser.add_argument("--verbose", action="store_true", help="log every request")
    options = parser.parse_args()
    logging.basicConfig(level=logging.DEBUG if options.verbose else logging.INFO)
    try:
        serve(port=options.port, state_path=options.state)
    except (AlreadyServed, OSError) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()

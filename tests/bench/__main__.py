"""`python -m tests.bench`: how fast checking, recording, consuming and billing are, against references of the run."""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

SECTIONS = ("check", "usage", "consume", "ingest", "billing")


def main() -> None:
    """Read the command line and measure."""
    wanted = _parser().parse_args()
    cache = wanted.cache.expanduser().resolve()
    cache.mkdir(parents=True, exist_ok=True)
    # Django reads these when it loads. The embedded server keeps its files here, apart from the developer's; with
    # DATABASE_URL the databases of the benchmark are made on that server instead.
    os.environ["CANDELA_DATA"] = str(cache / "data")
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.bench.settings"
    os.environ |= {"DEBUG": "false", "STRIPE_SECRET_KEY": "", "BILLING_TIME_ZONE": "UTC"}
    import django

    django.setup()
    from config.management.commands.up import interrupt_on_stop_signals

    interrupt_on_stop_signals()
    sections = SECTIONS if wanted.section == "all" else (wanted.section,)
    try:
        _measure(
            sections,
            cache,
            small_only=wanted.small,
            month=wanted.subscriptions,
            target=wanted.json or cache / "figures.json",
        )
    except KeyboardInterrupt:
        sys.exit("Interrupted.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("section", nargs="?", choices=[*SECTIONS, "all"], default="all")
    parser.add_argument("--small", action="store_true", help="only the data set of 100,000 events, and short rounds")
    parser.add_argument("--subscriptions", type=int, metavar="N", help="how many the large month of billing has")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures (default: in the cache)")
    cache = Path("~/.cache/candela-bench")
    parser.add_argument("--cache", type=Path, metavar="DIR", default=cache, help=f"where data is kept ({cache})")
    return parser


def _measure(sections: tuple[str, ...], cache: Path, *, small_only: bool, month: int | None, target: Path) -> None:
    from tests.bench import billing, check, consume, ingest, machine, usage
    from tests.bench.billing import LARGE as LARGE_MONTH
    from tests.bench.billing import SMALL as SMALL_MONTH
    from tests.bench.dataset import LARGE, SMALL, Size, data_set
    from tests.bench.figures import Section, as_json, table
    from tests.bench.installation import Servers, connected_to, new_key
    from tests.bench.load import Pool
    from tests.bench.run import Run, Stage

    measures = {
        "check": check.measure_check,
        "usage": usage.measure_usage,
        "consume": consume.measure_consume,
        "ingest": ingest.measure_ingest,
    }
    began = time.perf_counter()

    def say(text: str) -> None:
        sys.stderr.write(f"{time.perf_counter() - began:7.1f} s  {text}\n")

    def measured_over_http() -> Iterator[Section]:
        """Measure the sections that need the data sets, the web servers and the load."""
        with ExitStack() as stack:
            pool = stack.enter_context(Pool())
            servers = Servers()
            stack.callback(servers.stop)

            def stage_of(size: Size) -> Stage:
                data = data_set(size, say)
                with connected_to(data.database):
                    key = new_key()
                server = servers.start(
                    f"web-{data.name}", database=data.database, settings_module="tests.bench.settings", key=key
                )
                return Stage(data, server)

            small = stage_of(SMALL)
            run = Run(
                pool=pool,
                small=small,
                large=None if small_only else stage_of(LARGE),
                reference=servers.start(
                    "reference",
                    database=small.data.database,
                    key=small.server.key,
                    settings_module="tests.bench.reference.settings",
                ),
                rounds=3 if small_only else 5,
                seconds=0.6 if small_only else 3.0,
                say=say,
            )
            yield from (measure(run) for name, measure in measures.items() if name in sections)

    results = list(measured_over_http()) if measures.keys() & set(sections) else []
    if "billing" in sections:
        sizes = [SMALL_MONTH] if small_only else [SMALL_MONTH, month or LARGE_MONTH]
        results.append(billing.measure_billing(sizes=sizes, rounds=2 if small_only else 3, say=say))
    described = machine.description()
    sys.stdout.write("\n".join(["", machine.sentence(described), "", *map(table, results)]))
    figures = {
        "madeAt": datetime.now(UTC).isoformat(),
        "seconds": round(time.perf_counter() - began, 1),
        "small": small_only,
        "machine": described,
        "sections": [as_json(result) for result in results],
    }
    target.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    sys.stdout.write(f"The figures are in {target}.\n")


if __name__ == "__main__":
    main()

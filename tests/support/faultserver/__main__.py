"""Serve healthy answers until interrupted: `python -m faultserver --delay 0.2`."""

import argparse
import threading
from contextlib import suppress

from . import FaultServer, faults


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m faultserver", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0, the default, is any")
    parser.add_argument("--delay", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--keep-alive", action="store_true")
    options = parser.parse_args()
    step = faults.ECHO
    if options.delay:
        step = faults.slow_first_byte(options.delay, step)
    with FaultServer(step, keep_alive=options.keep_alive, port=options.port) as server:
        print(server.url, flush=True)  # noqa: T201  # whoever started it reads it
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()

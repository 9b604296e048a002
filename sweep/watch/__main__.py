"""python -m sweep.watch RESULTS: shows the report of a study in a browser, and keeps it current while it runs."""

import argparse
import sys
import threading
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from slr_models.errors import UserError
from sweep.command_line import tell_user_error
from sweep.watch.builder import Builder
from sweep.watch.folder import Folder
from sweep.watch.server import FIRST_PORT, Server


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line until Ctrl-C; returns the exit code (2 for a user's mistake)."""
    parser = argparse.ArgumentParser(
        prog="python -m sweep.watch",
        description="Show the report of a study in a browser, and keep it current while the study runs. "
        "Changes nothing in the results folder. Ctrl-C ends it.",
    )
    parser.add_argument("results", type=Path, help="results folder of a study, such as results/smoke")
    parser.add_argument("--port", type=int, metavar="N", help=f"default: {FIRST_PORT}, or the next free one")
    parser.add_argument("--open", action="store_true", help="open a browser")
    options = parser.parse_args(arguments)
    try:
        folder = Folder(options.results)
        builder = Builder(folder)
        server = Server(folder, builder, options.port)
    except UserError as error:
        return tell_user_error(error)
    with server:
        builder.start()
        if options.open:
            # Some browsers return only when they are closed.
            threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
        try:
            if not (options.results / "study.yaml").is_file():
                print(f"{options.results} holds no study yet: waiting for a run to begin one", flush=True)
            print(f"{server.url}  (Ctrl-C ends it)", flush=True)
            server.serve_forever()
        except KeyboardInterrupt:
            pass
        finally:
            builder.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())

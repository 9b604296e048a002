"""python -m sweep.watch RESULTS: shows the report of a study in a browser, and keeps it current while it runs."""

import argparse
import contextlib

from sweep.command_line import EXIT_DONE, Command, add_results
from sweep.watch import FIRST_PORT


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_results(parser, or_address=True)
    parser.add_argument("--port", type=int, metavar="N", help=f"default: {FIRST_PORT}, or the next free one")
    parser.add_argument("--open", action="store_true", help="open a browser")


def _work(options: argparse.Namespace) -> int:
    import threading
    import webbrowser

    from sweep.store.remote.study import study_copy
    from sweep.watch.builder import Builder
    from sweep.watch.folder import Folder
    from sweep.watch.server import Server

    copy = study_copy(options.results)
    path = options.results if copy is None else copy.folder
    current = contextlib.nullcontext() if copy is None else copy.kept_current()
    folder = Folder(path)
    builder = Builder(folder)
    with current, Server(folder, builder, options.port) as server:
        builder.start()
        if options.open:
            # Some browsers return only when they are closed.
            threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
        try:
            if not (path / "study.yaml").is_file():
                print(f"{options.results} holds no study yet: waiting for a run to begin one", flush=True)
            print(f"{server.url}  (Ctrl-C ends it)", flush=True)
            server.serve_forever()
        except KeyboardInterrupt:
            pass
        finally:
            builder.stop()
    return EXIT_DONE


COMMAND = Command(
    name="watch",
    summary="show a study's report in a browser, and keep it current",
    description="Show the report of a study in a browser, and keep it current while the study runs. "
    "Changes nothing in the results folder. Ctrl-C ends it.",
    add_arguments=_add_arguments,
    work=_work,
)
main = COMMAND.main

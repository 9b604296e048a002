"""python -m sweep.watch RESULTS: shows the report of a study in a browser, and keeps it current while it runs."""

import argparse

from sweep.command_line import EXIT_DONE, Command, add_results
from sweep.watch import FIRST_PORT


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_results(parser)
    parser.add_argument("--port", type=int, metavar="N", help=f"default: {FIRST_PORT}, or the next free one")
    parser.add_argument("--open", action="store_true", help="open a browser")


def _work(options: argparse.Namespace) -> int:
    import threading
    import webbrowser

    from sweep.watch.builder import Builder
    from sweep.watch.folder import Folder
    from sweep.watch.server import Server

    folder = Folder(options.results)
    builder = Builder(folder)
    with Server(folder, builder, options.port) as server:
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

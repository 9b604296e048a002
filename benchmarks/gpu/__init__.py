"""What only a GPU can tell, as one script of at most nine minutes: `python -m benchmarks.gpu.day`, or `make gpu`.

**It has not been run on a GPU yet.** Its logic is tested on a CPU (`--device cpu --quick`), whose numbers mean nothing.

    day.py           the command: the parts in their order, each as a process with its own time; one JSON, one table
    part.py          what every part does as a process: its arguments, its rows written as they come
    results.py       the rows of every part, and the result of a day: the schema of the JSON, with its version
    settings.py      how much of everything, in full and quick
    table.py         the result as Markdown
    card.py          which GPU it is
    marked_tests.py  1. the tests marked `gpu`
    models.py        2. every shipped model in every precision at three learning rates
    emulation.py     3. the fp16 emulation against the GPU
    monitoring.py    4. what watching costs, and whether it makes the host wait
    packing.py       5. several trainings that share the GPU
    precisions.py    6. what a step costs in each precision
"""

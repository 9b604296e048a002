"""Writes a study to begin with: `slr-sweep init SOURCE`.

command.py     its command line: which of the following a source asks for
copying.py     the studies that come with this program: their list, and a copy to edit
landmarks.py   of a folder of data: reads it, measures trainings, and proposes a study of our own loop
ramps.py       the learning rates at which trainings begin to learn and break, from rates that rise as they go
study_text.py  its text, each setting with the reason for it
functions.py   of a function, commands.py of a command: which settings it takes, read without running it
programs.py    their text
ranges.py      which range a setting is proposed, from its name and default
writing.py     the file: comments, values, and that it is a study before it is there
"""

from sweep.init.command import main

__all__ = ["main"]

"""The report of a study in a browser, kept current while the study runs. Reads the results folder and changes nothing.

command.py   its command line
folder.py    what stands in the folder now, found out cheaply
builder.py   when to build the page again; worker.py builds it, in a process of its own
state.py     what the bar above the page says
server.py    HTTP, on loopback alone; watch.html, watch.css and watch.js are the page around the report
"""

FIRST_PORT = 8266
"""Where a browser finds it unless told otherwise. Ray's dashboard has 8265."""

"""Results on an object store: a study's folder is worked on here, as any other, and kept there.

    <address>/<study>/ledger/0000000001.jsonl   a segment of the ledger: a line that says who wrote it, then the lines
                                                that came; made once, by a put that fails where there is one
    <address>/<study>/ledger-whole/....jsonl    all lines of the segments before that number, so that few are read
    <address>/<study>/lease/000001.json         the run that writes, renewed while it does; one a run
    <address>/<study>/shared/<file>/000001      a line of a file that processes of several machines add to
    <address>/<study>/...                       all other files, named as in the folder

address.py     an address as the user gives it, and where its folder is on this machine
objects.py     the store: conditional puts, patience with a network, errors in a line
segments.py    the ledger there, which one run at a time adds to
lease.py       which run that is
mirror.py      the other files, both ways
lines.py       files that several machines add to
study.py       all of it together: for a run, and for a reader
process.py     the part of a process that trains on a cluster whose machines share no folder

A line of the ledger is there before anything relies on it, and the records of a training before the line that tells its
result. Two runs that both believe to be the only one cannot both make the segment that comes next: the second is told.
"""

from sweep.store.remote.address import StoreAddress, as_address

__all__ = ["StoreAddress", "as_address"]

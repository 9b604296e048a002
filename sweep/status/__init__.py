"""How far a study is, seen from another terminal or machine. Reads the results folder and changes nothing.

command.py   its command line
answer.py    what it says, as plain data: the JSON object
reading.py   the folder -> the answer
words.py     the answer -> lines for a person
follow.py    again and again, until the study ends
"""

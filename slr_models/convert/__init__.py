"""Users' data in other formats as a folder that the source landmarks reads.

conversion.py   a source, from its first utterance to the manifest
formats.py      the table of formats, and which one a source shows
utterance.py    what every reader yields; fault_of_name says which names are refused
records.py      utterances in nested mappings, lists and arrays; containers.py: those of a file
torch_files.py, hdf5_files.py, mat_files.py, pickles.py   files of such content
openpose.py, mediapipe_json.py, gislr.py, feature_files.py   formats of landmarks
lists.py        labels that lie beside the features; labels.py tells labels in a text apart
splits.py       which utterances are validated on, where a source does not tell
folder.py       the folder that is written, whole or not at all; summary.py measures it
"""

"""Landmarks of videos, by MediaPipe Holistic in an environment of its own.

videos.py      the videos of a folder, which of them are done, and the list that is written
worker.py      a process of that environment, spoken to in lines of JSON
holistic.py    what that process runs: it imports MediaPipe, OpenCV and NumPy, and nothing of this package
"""

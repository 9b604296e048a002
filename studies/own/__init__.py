"""Studies of trainings that are not this program's own: functions and a command, each with its study file beside it."""

"""What a user can get wrong, and what a machine cannot do, as exceptions.

    UserError(ValueError)        the message is for the user: what is wrong, where, what to do
      DataError                  a data folder, a manifest or a feature file
      SettingError               a study file or a configuration value
      ResultsError               a results folder
        NothingToCompareError    two results folders that have nothing in common
    MachineError(RuntimeError)   nothing that the user gave is wrong; the message is for the user all the same

Command lines print the message alone (no traceback) and exit with a code of their own: see `sweep.command_line`.
"""


class UserError(ValueError):
    """A mistake in what the user gave; the message says what is wrong, where, and what to do."""


class DataError(UserError):
    """A data folder, manifest or feature file cannot be used as it is."""


class SettingError(UserError):
    """A study file or a configuration value is wrong."""


class ResultsError(UserError):
    """A results folder cannot be used as it is."""


class NothingToCompareError(ResultsError):
    """Two results folders are sound, but hold nothing that could be held against each other."""


class MachineError(RuntimeError):
    """This machine cannot do it now: no mistake in what the user gave."""

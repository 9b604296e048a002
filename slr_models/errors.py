"""What a user can get wrong, as exceptions.

    UserError(ValueError)   the message is for the user: what is wrong, where, what to do
      DataError             a data folder, a manifest or a feature file
      SettingError          a study file or a configuration value
      ResultsError          a results folder

Command lines print the message alone (no traceback) and exit with 2.
"""


class UserError(ValueError):
    """A mistake in what the user gave; the message says what is wrong, where, and what to do."""


class DataError(UserError):
    """A data folder, manifest or feature file cannot be used as it is."""


class SettingError(UserError):
    """A study file or a configuration value is wrong."""


class ResultsError(UserError):
    """A results folder cannot be used as it is."""

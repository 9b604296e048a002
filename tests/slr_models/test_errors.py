"""How what is wrong with settings is told: one line for each problem, and what it consists of."""

import pickle

from slr_models.errors import MAX_PROBLEMS_SHOWN, SettingError, SettingProblem


def test_a_problem_is_told_as_place_problem_and_advice() -> None:
    plain = SettingProblem(("budget", "steps"), "budget.steps is 'many'", "write a whole number", where="x.yaml:7")
    assert str(plain) == "x.yaml:7: budget.steps is 'many': write a whole number"
    follows = SettingProblem(("a",), "a is not a setting.", "Did you mean b? Known here: b")
    assert str(follows) == follows.sentence == "a is not a setting. Did you mean b? Known here: b"
    got = SettingProblem(("a",), "a: input should be greater than 0", got="-1", where="x.yaml")
    assert str(got) == "x.yaml: a: input should be greater than 0, got -1"
    assert got.sentence == "a: input should be greater than 0, got -1"


def test_a_part_that_is_wrong_is_told_of_the_whole() -> None:
    part = SettingProblem(("levels",), "levels names a level twice", "leave one out")
    whole = part.within(("claims", 0), "claim c")
    assert whole == SettingProblem(("claims", 0, "levels"), "claim c: levels names a level twice", "leave one out")


def test_an_error_holds_all_problems_and_its_message_as_many_as_are_read() -> None:
    problems = [SettingProblem((str(i),), f"{i} is wrong") for i in range(MAX_PROBLEMS_SHOWN + 2)]
    assert str(SettingError(*problems[:2])) == "0 is wrong\n1 is wrong"
    error = SettingError(*problems)
    assert error.problems == tuple(problems)
    lines = str(error).splitlines()
    assert len(lines) == MAX_PROBLEMS_SHOWN + 1 and lines[-1] == "... and 2 more"
    assert str(SettingError(*problems[:-2])).splitlines() == lines[:-1]


def test_a_sentence_alone_is_a_problem_without_a_path() -> None:
    error = SettingError("the port is taken: give another one")
    assert str(error) == "the port is taken: give another one"
    assert error.problems == (SettingProblem((), "the port is taken: give another one"),)


def test_an_error_comes_whole_out_of_another_process() -> None:
    error = SettingError(SettingProblem(("a",), "a is wrong", where="x.yaml:1"), "so is b")
    again = pickle.loads(pickle.dumps(error))
    assert again.problems == error.problems and str(again) == str(error)

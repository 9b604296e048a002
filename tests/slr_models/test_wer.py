"""Word errors against jiwer."""

import jiwer
from hypothesis import given, settings
from hypothesis import strategies as st

from slr_models.wer import ErrorCounts, count_errors

sentences = st.lists(st.integers(1, 4), max_size=8)


@settings(max_examples=150, deadline=None)
@given(reference=sentences, hypothesis=sentences)
def test_counts_agree_with_jiwer(reference: list[int], hypothesis: list[int]) -> None:
    counts = count_errors(reference, hypothesis)
    peer = jiwer.process_words(" ".join(map(str, reference)) or "", " ".join(map(str, hypothesis)))
    assert counts.num_errors == peer.substitutions + peer.deletions + peer.insertions
    assert counts.num_labels == len(reference)
    assert counts.num_labels - counts.deletions + counts.insertions == len(hypothesis)
    assert min(counts.substitutions, counts.deletions, counts.insertions) >= 0
    assert counts.rate == peer.wer


def test_kinds_of_error() -> None:
    assert count_errors("abcd", "abxd") == ErrorCounts(substitutions=1, num_labels=4)
    assert count_errors("abcd", "abd") == ErrorCounts(deletions=1, num_labels=4)
    assert count_errors("abcd", "abccd") == ErrorCounts(insertions=1, num_labels=4)
    # One deletion and one insertion would be as many edits as these two substitutions.
    assert count_errors("ab", "ba") == ErrorCounts(substitutions=2, num_labels=2)


def test_pooled_rate_counts_labels_not_utterances() -> None:
    pooled = count_errors("a", "b") + count_errors("abcdefghi", "abcdefghi")
    assert pooled.rate == 0.1
    assert sum([pooled, pooled], ErrorCounts()).num_labels == 20


def test_rate_is_neither_capped_nor_nan() -> None:
    assert count_errors("a", "bcde").rate == 4.0
    assert ErrorCounts().rate == 0.0
    assert count_errors("", "xyz").rate == 3.0

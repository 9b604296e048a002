"""The monitor and the rules of other frameworks, on traces whose truth is known."""

"""The cause that the tool names, against the cause that was injected."""

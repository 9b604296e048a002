"""What the configuration of every plug-in owes: it comes back from a file as it went, and a typing error is told."""

from pydantic import TypeAdapter, ValidationError


def check_configuration(config: object) -> None:
    """Fails unless a configuration survives being written and read, is frozen and refuses what it does not know.

    Args:
        config: a pydantic model, such as a `slr_models.spec.Spec` with the field `kind`.
    """
    adapter = TypeAdapter[object](type(config))
    written = adapter.dump_python(config, mode="json", by_alias=True)
    assert adapter.validate_python(written) == config, f"{config!r} comes back from {written} as another configuration"
    assert isinstance(written, dict) and written.get("kind"), f"{config!r} has no `kind`, by which a file selects it"
    try:
        adapter.validate_python({**written, "no_such_setting": 1})
    except ValidationError:
        pass
    else:
        raise AssertionError(
            f"{type(config).__name__} takes a setting that it does not know, so a misspelled one would be ignored; "
            "derive it from slr_models.spec.Spec"
        )
    try:
        setattr(config, "kind", written["kind"])  # noqa: B010 - the type of `config` has no `kind`
    except (ValidationError, AttributeError):
        return
    raise AssertionError(f"{type(config).__name__} can be changed after it was checked; derive it from Spec")

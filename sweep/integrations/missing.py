"""What is said where a library that a callback is for is not installed."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def needed(*packages: str, by: str) -> Iterator[None]:
    """Within, packages are imported; one that is missing is told with what installs it.

    Args:
        packages: of the library; the first is what to install.
        by: name of the module that needs them.

    Raises:
        ModuleNotFoundError: one of them is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in packages:
            raise
        raise ModuleNotFoundError(
            f"{by} needs the package {error.name}: pip install {packages[0]}, or "
            f"pip install 'slr-stability-sweep[integrations]' for all libraries that have a callback",
            name=error.name,
        ) from None

"""A Parquet file of a results folder as a table of known columns and types; whatever else it is, is refused."""

from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from slr_models.errors import ResultsError
from sweep.store.files import said

MAX_CELLS = 300_000_000
"""Rows x columns: a training of twenty million steps has fewer, and in memory they take 2.4 GB."""
MAX_TABLE_MIB = 4096
"""Of values before their compression."""
Remedy = str | Callable[[], str]
"""What is to be done with a damaged file, or what finds it out."""


def _refusal(problem: str, remedy: Remedy) -> ResultsError:
    return ResultsError(f"{problem}: {remedy if isinstance(remedy, str) else remedy()}")


@contextmanager
def refused(path: Path, remedy: Remedy, form: str = "Parquet") -> Iterator[None]:
    """Within, whatever is wrong with what a file of that form holds becomes a ResultsError with what to do.

    What the machine refuses (a permission, a broken disk) stays what it is.
    """
    try:
        yield
    except ResultsError:
        raise
    except (pa.ArrowException, ValueError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise _refusal(f"{path} cannot be read as {form} ({said(error)})", remedy) from error
    except OSError as error:
        # Arrow says so, without a number, of a file that is cut or no Parquet at all.
        if error.errno is not None:
            raise
        raise _refusal(f"{path} cannot be read as {form} ({said(error)})", remedy) from error


def read_table(
    path: Path,
    schema: pa.Schema,
    remedy: Remedy,
    names: Sequence[str] | None = None,
    *,
    needed: Set[str] | None = None,
    others: Callable[[pa.DataType], bool] | None = None,
    threads: bool = True,
) -> pa.Table:
    """A table whose columns have the types of a schema.

    Args:
        path: of the file, which exists.
        schema: columns and their types.
        remedy: what is to be done with a file that is damaged.
        names: the columns that are wanted; None for all that the schema has.
        needed: of these, those that every file has; None for all.
        others: whether a column that is not in the schema may have a type; None where such columns are left out.
        threads: whether to read with several.

    Raises:
        ResultsError: it is no such table.
    """
    if not path.is_file():
        raise _refusal(f"{path} is {'a folder, not a file' if path.is_dir() else 'no file'}", remedy)
    wanted = schema.names if names is None else list(names)
    with refused(path, remedy), pq.ParquetFile(path, page_checksum_verification=True) as file:
        _check_size(file)
        there = file.schema_arrow.names
        if twice := {name for name in there if there.count(name) > 1}:
            raise ValueError(f"two of its columns are named {min(twice)}")
        # All of them, so that whichever are wanted, a foreign table is refused in the same words.
        lacking = [name for name in schema.names if name not in there and (needed is None or name in needed)]
        if lacking:
            raise ValueError(f"it has no column {lacking[0]}")
        own = [name for name in wanted if name in there]
        extra = [name for name in there if others is not None and names is None and name not in schema.names]
        read = file.read(columns=own + extra, use_threads=threads)
        read.validate(full=True)
        for name in extra:
            if others is not None and not others(read.schema.field(name).type):
                raise ValueError(f"its column {name} holds {read.schema.field(name).type}, which no setting is")
        columns = {name: _cast(read.column(name), schema.field(name)) for name in own}
        columns |= {name: read.column(name) for name in extra}
        return pa.table(columns).replace_schema_metadata(file.schema_arrow.metadata)


def read_as_it_is(path: Path, remedy: Remedy) -> list[dict[str, Any]]:
    """The rows of a table of any columns and types.

    Raises:
        ResultsError: it is no table, or damaged.
    """
    with refused(path, remedy):
        if not path.is_file():
            raise ValueError("it is no file")
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            _check_size(file)
            names = file.schema_arrow.names
            if len(set(names)) < len(names):
                raise ValueError("two of its columns have one name")
            read = file.read()
        read.validate(full=True)
        rows: list[dict[str, Any]] = read.to_pylist()
        return rows


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds text, in any of the ways that Arrow has for it."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _check_size(file: pq.ParquetFile) -> None:
    about = file.metadata
    if about.num_rows * about.num_columns > MAX_CELLS:
        raise ValueError(f"it says that it has {about.num_rows:,} rows of {about.num_columns:,} columns: too many")
    size = sum(about.row_group(index).total_byte_size for index in range(about.num_row_groups))
    if size > MAX_TABLE_MIB * 2**20:
        raise ValueError(f"it says that it has {size / 2**20:,.0f} MiB: too many")


def _cast(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    """The column in the type of its field, where nothing but its kind of storage has to change."""
    if column.type.equals(field.type):
        return column
    if pa.types.is_null(column.type) or (is_text(column.type) and is_text(field.type)):
        return column.cast(field.type)
    number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    if number and (pa.types.is_floating(field.type) or pa.types.is_integer(field.type)):
        # A float is also a whole number where it has no fraction: pandas makes floats of those that may be missing.
        narrower = pa.types.is_floating(field.type) and pa.types.is_floating(column.type)
        try:
            return column.cast(field.type, safe=not narrower)
        except pa.ArrowInvalid as error:
            raise ValueError(f"its column {field.name} holds {column.type}, not {field.type}: {error}") from error
    raise ValueError(f"its column {field.name} holds {column.type}, not {field.type}")

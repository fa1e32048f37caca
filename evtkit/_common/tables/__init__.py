"""Tables in files: the numeric columns of a CSV or Parquet file, as they are or refused."""

from evtkit._common.tables.dialect import Dialect
from evtkit._common.tables.numbers import MISSING
from evtkit._common.tables.reading import Skipped, Table, listed, read_table

__all__ = ["MISSING", "Dialect", "Skipped", "Table", "listed", "read_table"]

"""Encoding on several processes and machines: one worker on Arrow's record batches.

    from lanner.distributed import ArrowEncoder

    encoder = ArrowEncoder("s3://models/minilm.lanner", column="body")
    table = encoder(table)  # or an iterator of record batches, as in Spark

`lanner.distributed.ray` and `lanner.distributed.spark` encode whole datasets.
"""

from lanner.errors import MissingExtraError

try:
    import pyarrow  # noqa: F401 (all modules need it)
except ImportError as error:
    what = "lanner.distributed"
    raise MissingExtraError(what, "distributed", "pyarrow") from error

from lanner.distributed.arrow_encoder import ArrowEncoder

__all__ = ["ArrowEncoder"]

"""A limit on the threads of runtimes that have no setting for them."""

from __future__ import annotations


def bound_sessions(threads: int) -> None:
    """Give every session of ONNX Runtime that is created from now on this number of threads.

    Some runtimes create their own `SessionOptions` without a thread count. Call this function
    before they are imported, because they may import the name.
    """
    import onnxruntime as ort  # noqa: PLC0415

    class SessionOptions(ort.SessionOptions):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.intra_op_num_threads, self.inter_op_num_threads = threads, 1

    ort.SessionOptions = SessionOptions

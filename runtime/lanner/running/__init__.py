"""The queue of a model: batching, scheduling, deadlines, cancellation."""

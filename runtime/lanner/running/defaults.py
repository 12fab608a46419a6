"""The defaults of the queue: how many calls wait, and how much runs at once."""

#: The most calls that wait for one model.
MAX_WAITING = 1_024
#: The most padded tokens in one batch. Small enough that the activations of one layer stay in a
#: core's L2 cache, large enough that the matrix products are worth their launch.
TOKEN_BUDGET = 512
#: The same on a GPU. There a run has a fixed cost of about 640 tokens
#: (`lanner.engines.tensorrt.engine`), a twenty-fifth of such a batch.
GPU_TOKEN_BUDGET = 16_384
#: Only calls with at least this many tokens are split among workers: fewer are not worth a thread.
LEAST_SHARE = 64
#: The cost, in tokens, of handing a batch to a worker and its answer back.
HANDOVER_TOKENS = 4

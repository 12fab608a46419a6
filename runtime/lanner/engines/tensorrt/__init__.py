"""The TensorRT engine: runs engines that were built for this machine's GPU."""

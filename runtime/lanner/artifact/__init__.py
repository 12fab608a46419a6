"""The artifact: the directory that an export writes and everything else reads."""

"""Files of texts and vectors of any size: rows in, vectors out, resumable."""

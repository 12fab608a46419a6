"""The variants of an artifact beside what others make of its checkpoint."""

"""Deduplication methods. Each annotates; none of them deletes."""

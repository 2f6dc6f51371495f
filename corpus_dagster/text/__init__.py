"""Kernels over Arrow string columns: segmentation, properties of characters, spans."""

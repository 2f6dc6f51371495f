"""The asset graph: one thin module per stage. How a stage works is in `corpus_dagster`."""

"""Common Crawl to pretraining corpora: the library behind the Dagster assets.

Nothing in this package but `corpus_dagster.definitions` may import dagster, `assets` or `resources`.
"""

__version__ = "0.1.0"

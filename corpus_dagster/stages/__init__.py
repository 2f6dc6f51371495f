"""The curation stages: each turns sharded datasets of one crawl into one more."""

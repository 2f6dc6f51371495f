"""Speed as ratios measured in one run: against the bare native loop, against peers, against one worker.

`python -m benchmarks [--warc FOLDER] [NAME ...]`. Nothing here is a test; a loaded machine gives other
seconds but much the same ratios.
"""

"""Command line of the benchmarks."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

# Before the libraries that read them are imported: one process means one core.
os.environ |= {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1", "ARROW_NUM_THREADS": "1"}

from benchmarks import extraction, pipeline, rules, workers
from benchmarks.common import archives
from corpus_dagster.sample import sample_folder
from corpus_dagster.settings import Settings

BENCHMARKS = {
    "pipeline": pipeline.main,
    "rules": rules.main,
    "workers": workers.main,
    "extraction": extraction.main,
}


def main() -> int:
    """Run the named benchmarks, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--warc", type=Path, help="folder of WARC files; default: the embedded sample crawl")
    parser.add_argument("--files", type=int, default=0, help="most WARC files to read; 0 for all")
    parser.add_argument("--repeat", type=int, default=1, help="read the files so many times over: a longer crawl")
    options = parser.parse_args()
    folder = options.warc or sample_folder(Settings.from_environment().work)
    files = archives(folder)[: options.files or None] * options.repeat
    if not files:
        print(f"no .warc.gz file below {folder}", file=sys.stderr)
        return 2
    for name in options.names or BENCHMARKS:
        print(f"== {name}")
        BENCHMARKS[name](files)
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())

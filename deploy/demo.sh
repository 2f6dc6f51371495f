#!/bin/sh
# The main job on the embedded sample: every asset of the recipe for each crawl named, then analytics and the funnel.
set -eu
bin=.venv/bin
# The demo is about the sample, whatever the shell's environment points at.
export CORPUS_SOURCE=sample CORPUS_LAKE="$PWD/lake" CORPUS_WORK="$PWD/.corpus"
# The sample is small: starting worker processes for each stage would take longer than the work.
export CORPUS_WORKERS=1
unset CORPUS_RECIPES CORPUS_CATALOG
mkdir -p "$CORPUS_WORK"
log="$CORPUS_WORK/demo.log"
for crawl in "$@"; do
  echo "curating $crawl"
  "$bin/dagster" asset materialize -m corpus_dagster.definitions --partition "$crawl" \
    --select 'group:common_crawl or group:dclm_baseline' >"$log" 2>&1 || { tail -n 60 "$log"; exit 1; }
done
echo "building analytics"
"$bin/dagster" asset materialize -m corpus_dagster.definitions --select 'group:analytics' >"$log" 2>&1 || { tail -n 60 "$log"; exit 1; }
echo
"$bin/corpus-dagster" funnel
cat <<EOF
The corpus: lake/dclm_baseline/curated/crawl=<crawl>/<fingerprint>/part-*.parquet (CURRENT names the fingerprint)
Why is a page missing:  $bin/corpus-dagster explain URL
Try a threshold:        $bin/corpus-dagster what-if --crawl $1 --set word_count.min=100
The web interface:      make ui, then http://127.0.0.1:3000
EOF

select
    recipe,
    crawl,
    step,
    stage,
    rule,
    documents_in,
    documents_removed,
    documents_out,
    words_out,
    bytes_out
from {{ source('statistics', 'funnel') }}
order by recipe, crawl, step

select
    recipe,
    crawl,
    host,
    host_group,
    documents_in,
    documents_kept,
    words_kept,
    bytes_kept
from {{ source('statistics', 'hosts') }}
order by recipe, crawl, host_group, host

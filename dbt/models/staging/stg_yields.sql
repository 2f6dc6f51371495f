select
    recipe,
    crawl,
    language,
    host_group,
    documents_in,
    words_in,
    bytes_in,
    documents_kept,
    words_kept,
    tokens_kept,
    bytes_kept
from {{ source('statistics', 'yields') }}
order by recipe, crawl, language, host_group

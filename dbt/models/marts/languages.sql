-- dbt runs a test that compares two tables only before what reads both, so this waits for it by name:
-- depends_on: {{ ref('stg_funnel') }}
with languages as (
    select
        recipe,
        crawl,
        language,
        sum(documents_in)::bigint as documents_in,
        sum(words_in)::bigint as words_in,
        sum(bytes_in)::bigint as bytes_in,
        sum(documents_kept)::bigint as documents_kept,
        sum(words_kept)::bigint as words_kept,
        sum(tokens_kept)::bigint as tokens_kept,
        sum(bytes_kept)::bigint as bytes_kept
    from {{ ref('stg_yields') }}
    group by recipe, crawl, language
)

select
    *,
    documents_kept / nullif(documents_in, 0) as keep_rate,
    documents_in / nullif(sum(documents_in) over in_crawl, 0) as share_of_documents_in,
    documents_kept / nullif(sum(documents_kept) over in_crawl, 0) as share_of_documents_kept,
    tokens_kept / nullif(sum(tokens_kept) over in_crawl, 0) as share_of_tokens_kept
from languages
window in_crawl as (partition by recipe, crawl)
order by recipe, crawl, documents_in desc, language

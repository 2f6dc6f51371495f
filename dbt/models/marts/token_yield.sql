with crawls as (
    select distinct recipe, crawl
    from {{ ref('stg_funnel') }}
),

yields as (
    select
        recipe,
        crawl,
        sum(documents_in) as documents_in,
        sum(words_in) as words_in,
        sum(bytes_in) as bytes_in,
        sum(documents_kept) as documents_kept,
        sum(words_kept) as words_kept,
        sum(tokens_kept) as tokens_kept,
        sum(bytes_kept) as bytes_kept
    from {{ ref('stg_yields') }}
    group by recipe, crawl
),

skipped as (
    select
        recipe,
        crawl,
        sum(records) as records
    from {{ ref('stg_skipped_records') }}
    group by recipe, crawl
),

-- A crawl without a single document has no yields; its row says 0.
totals as (
    select
        recipe,
        crawl,
        coalesce(skipped.records, 0)::bigint as records_skipped,
        coalesce(documents_in, 0)::bigint as documents_in,
        coalesce(words_in, 0)::bigint as words_in,
        coalesce(bytes_in, 0)::bigint as bytes_in,
        coalesce(documents_kept, 0)::bigint as documents_kept,
        coalesce(words_kept, 0)::bigint as words_kept,
        coalesce(tokens_kept, 0)::bigint as tokens_kept,
        coalesce(bytes_kept, 0)::bigint as bytes_kept
    from crawls
    left join yields using (recipe, crawl)
    left join skipped using (recipe, crawl)
)

select
    *,
    documents_kept / nullif(documents_in, 0) as documents_keep_rate,
    words_kept / nullif(words_in, 0) as words_keep_rate,
    bytes_kept / nullif(bytes_in, 0) as bytes_keep_rate,
    tokens_kept / nullif(bytes_in, 0) as tokens_per_byte_in,
    {{ positive('bytes_per_token') }} as bytes_per_token,
    round(bytes_kept / {{ positive('bytes_per_token') }})::bigint as estimated_model_tokens
from totals
order by recipe, crawl

with crawls as (
    select
        recipe,
        crawl,
        sum(documents_in) as documents,
        sum(words_in) as words,
        sum(bytes_in) as bytes
    from {{ ref('stg_yields') }}
    group by recipe, crawl
),

steps as (
    select
        stg_funnel.*,
        crawls.documents,
        crawls.words,
        crawls.bytes,
        coalesce(lag(words_out) over in_order, crawls.words) as words_in,
        coalesce(lag(bytes_out) over in_order, crawls.bytes) as bytes_in
    from {{ ref('stg_funnel') }} as stg_funnel
    left join crawls using (recipe, crawl)
    window in_order as (partition by recipe, crawl order by step)
)

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
    bytes_out,
    documents_out / nullif(documents_in, 0) as documents_share_of_previous,
    documents_out / nullif(documents, 0) as documents_share_of_all,
    words_out / nullif(words_in, 0) as words_share_of_previous,
    words_out / nullif(words, 0) as words_share_of_all,
    bytes_out / nullif(bytes_in, 0) as bytes_share_of_previous,
    bytes_out / nullif(bytes, 0) as bytes_share_of_all
from steps
order by recipe, crawl, step

-- dbt runs a test that compares two tables only before what reads both, so this waits for it by name:
-- depends_on: {{ ref('stg_funnel') }}
with crawls as (
    select
        recipe,
        crawl,
        sum(documents_in) as documents,
        sum(bytes_in) as bytes
    from {{ ref('stg_yields') }}
    group by recipe, crawl
)

select
    recipe,
    crawl,
    stage,
    reason,
    scope,
    items,
    reasons.words,
    reasons.bytes,
    (row_number() over (
        partition by recipe, crawl, scope
        order by items desc, reasons.bytes desc, stage, reason
    ))::integer as rank,
    items / nullif(sum(items) over (partition by recipe, crawl, scope), 0) as share_of_removed,
    case when scope = 'document' then items / nullif(crawls.documents, 0) end as share_of_documents,
    reasons.bytes / nullif(crawls.bytes, 0) as share_of_bytes
from {{ ref('stg_removal_reasons') }} as reasons
left join crawls using (recipe, crawl)
order by recipe, crawl, scope, rank

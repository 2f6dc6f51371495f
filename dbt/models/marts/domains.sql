-- dbt runs a test that compares two tables only before what reads both, so this waits for it by name:
-- depends_on: {{ ref('stg_yields') }}
select
    recipe,
    crawl,
    host,
    host_group,
    -- The rest of a host group is not a host, so it takes no rank.
    case
        when host <> '*' then (row_number() over (
            partition by recipe, crawl, host = '*'
            order by documents_kept desc, documents_in desc, host
        ))::integer
    end as rank,
    documents_in,
    documents_kept,
    words_kept,
    bytes_kept,
    documents_kept / nullif(documents_in, 0) as keep_rate,
    documents_kept / nullif(sum(documents_kept) over in_crawl, 0) as share_of_kept
from {{ ref('stg_hosts') }}
window in_crawl as (partition by recipe, crawl)
order by recipe, crawl, rank nulls last, host_group

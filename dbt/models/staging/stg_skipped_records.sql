select
    recipe,
    crawl,
    reason,
    records
from {{ source('statistics', 'skipped_records') }}
order by recipe, crawl, reason

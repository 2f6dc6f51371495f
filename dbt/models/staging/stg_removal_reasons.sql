select
    recipe,
    crawl,
    stage,
    reason,
    scope,
    items,
    words,
    bytes
from {{ source('statistics', 'removal_reasons') }}
order by recipe, crawl, stage, reason, scope

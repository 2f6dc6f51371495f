-- dbt runs a test that compares two tables only before what reads both, so this waits for it by name:
-- depends_on: {{ ref('stg_funnel') }}
-- The formulas, with their sources, stand in corpus_dagster/mixtures.py; the tests hold both to 1e-9.
{% set budget = var('token_budget') %}

with cells as (
    {% for dimension in ['language', 'host_group'] %}
    select
        recipe,
        '{{ dimension }}' as dimension,
        {{ dimension }} as cell,
        sum(bytes_in)::bigint as bytes_in,
        sum(documents_kept)::bigint as documents,
        sum(tokens_kept)::bigint as tokens
    from {{ ref('stg_yields') }}
    group by recipe, {{ dimension }}
    {{ 'union all' if not loop.last }}
    {% endfor %}
),

sized as (
    select
        *,
        {% if budget is none -%}
        (sum(tokens) over everything)::double as token_budget,
        {%- else -%}
        {{ positive('token_budget') }} as token_budget,
        {%- endif %}
        tokens / nullif(sum(tokens) over everything, 0) as share,
        count(*) over everything - row_number() over by_size + 1 as cells_from_here,
        (sum(tokens) over by_size - tokens)::double as tokens_before
    from cells
    window
        everything as (partition by recipe, dimension),
        by_size as (
            partition by recipe, dimension order by tokens, cell
            rows between unbounded preceding and current row
        )
),

-- UniMax hands the budget out from the smallest cell up. A cell takes its cap when every cell from here on
-- could take as much: that holds for the smallest cells and, once it fails, for none after.
capped as (
    select
        *,
        {{ positive('epoch_cap') }} * (tokens_before + cells_from_here * tokens) <= token_budget as at_cap
    from sized
),

-- The cells that stay below their cap share equally what the capped ones leave.
levelled as (
    select
        *,
        (token_budget - {{ positive('epoch_cap') }} * coalesce(sum(tokens) filter (where at_cap) over everything, 0))
        / nullif(count(*) filter (where not at_cap) over everything, 0) as level
    from capped
    window everything as (partition by recipe, dimension)
),

weighted as (
    select *, 'raw' as scheme, bytes_in::double as weight
    from levelled
    union all
    select *, 'token_proportional' as scheme, tokens::double as weight
    from levelled
    union all
    select *, 'temperature' as scheme, pow(share, 1 / {{ positive('temperature') }}) as weight
    from levelled
    union all
    select *, 'unimax' as scheme, case when at_cap then {{ positive('epoch_cap') }} * tokens else level end as weight
    from levelled
),

shared as (
    select
        *,
        weight / sum(weight) over (partition by recipe, dimension, scheme) as ratio,
        case
            when scheme = 'unimax' then sum(weight) over (partition by recipe, dimension, scheme)
            else token_budget
        end as spent
    from weighted
    -- Without a kept token there is nothing to mix.
    where share is not null
)

select
    recipe,
    dimension,
    cell,
    scheme,
    documents,
    tokens,
    ratio,
    ratio * spent as sampled_tokens,
    ratio * spent / nullif(tokens, 0) as epochs,
    token_budget,
    case when scheme = 'temperature' then {{ positive('temperature') }} end as temperature,
    case when scheme = 'unimax' then {{ positive('epoch_cap') }} end as epoch_cap
from shared
order by recipe, dimension, cell, scheme

{#- Rows are distinct in these columns. -#}
{% test unique_rows(model, columns) %}
    select {{ columns | join(', ') }}, count(*) as copies
    from {{ model }}
    group by {{ columns | join(', ') }}
    having count(*) > 1
{% endtest %}

{#- The expression is true in every row; null counts as a failure. -#}
{% test holds(model, expression) %}
    select *
    from {{ model }}
    where ({{ expression }}) is not true
{% endtest %}

{#- The column never grows from one row of a group to the next. -#}
{% test non_increasing(model, column, within, along) %}
    select *
    from (
        select *, lag({{ column }}) over (partition by {{ within | join(', ') }} order by {{ along }}) as previous_value
        from {{ model }}
    )
    where {{ column }} > previous_value
{% endtest %}

{#- Each row of a group starts with what the row before it left. -#}
{% test chained(model, entering, leaving, within, along) %}
    select *
    from (
        select *, lag({{ leaving }}) over (partition by {{ within | join(', ') }} order by {{ along }}) as previous_value
        from {{ model }}
    )
    where {{ entering }} <> previous_value
{% endtest %}

{#- The column sums to 1 in every group. -#}
{% test sums_to_one(model, column, within) %}
    {#- Far above the rounding of a sum over thousands of cells, far below any share of interest. -#}
    {%- set tolerance = '1e-9' %}
    select {{ within | join(', ') }}, sum({{ column }}) as total
    from {{ model }}
    group by {{ within | join(', ') }}
    having (abs(sum({{ column }}) - 1) <= {{ tolerance }}) is not true
{% endtest %}

{#- An aggregate of this model equals an aggregate of another one in every group; a group that only one of
    them has counts as zero in the other. -#}
{% test same_totals(model, aggregate, to, to_aggregate, within) %}
    select *
    from (
        select {{ within | join(', ') }}, {{ aggregate }} as total
        from {{ model }}
        group by {{ within | join(', ') }}
    ) as here
    full join (
        select {{ within | join(', ') }}, {{ to_aggregate }} as total
        from {{ to }}
        group by {{ within | join(', ') }}
    ) as there using ({{ within | join(', ') }})
    where coalesce(here.total, 0) <> coalesce(there.total, 0)
{% endtest %}

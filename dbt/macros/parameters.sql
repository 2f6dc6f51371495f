{#- A parameter of the project that must be a positive number; the build stops where it is not. -#}
{% macro positive(name) -%}
    {%- set value = var(name) -%}
    {%- if value is not number or value <= 0 -%}
        {{ exceptions.raise_compiler_error(
            "variable " ~ name ~ " is " ~ value ~ "; expected a number above 0: --vars '{\"" ~ name ~ "\": 1}'"
        ) }}
    {%- endif -%}
    cast({{ value }} as double)
{%- endmacro %}

-- Functions of ClickHouse that DuckDB has under other names.
CREATE OR REPLACE MACRO toFloat64OrZero(text) AS coalesce(TRY_CAST(text AS DOUBLE), 0);
CREATE OR REPLACE MACRO replaceRegexpAll(text, pattern, replacement) AS regexp_replace(text, pattern, replacement, 'g');

create or replace function strata.label_flows(
  labels text, label_column text, asset bigint, from_time timestamptz, to_time timestamptz default now(), unit text default 'day'
)
returns table (period timestamptz, label text, inflow numeric, outflow numeric, gross numeric, net numeric, accounts bigint)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
declare
  known jsonb := (select l.columns from strata.labels l where l.label_name = labels);
begin
  if known is null then
    raise exception 'there are no labels %', coalesce(quote_literal(labels), 'null') using errcode = 'undefined_object',
      hint = coalesce('Take ' || (select string_agg(l.label_name, ' or ' order by l.label_name) from strata.labels l) || '.', 'Load some with `pgstrata labels add`.');
  end if;
  if not known @> jsonb_build_array(jsonb_build_object('name', label_column)) then
    raise exception 'labels % have no column %', labels, coalesce(quote_literal(label_column), 'null') using errcode = 'undefined_column',
      hint = coalesce('Take ' || (select string_agg(c ->> 'name', ' or ') from jsonb_array_elements(known) c) || '.', 'Load labels with more columns.');
  end if;
  return query execute format($flows$
    select m.period, l.%1$I::text, sum(m.inflow) * scale, sum(m.outflow) * scale, sum(m.inflow + m.outflow) * scale, sum(m.inflow - m.outflow) * scale, count(*)
      from strata.balance_movements(%2$L, %3$L, %4$L, %5$L) m
      left join strata.%6$I l on l.account_address = m.account_address
     cross join strata.scale_of(%5$L) scale
     where not exists (select from strata.burn_accounts n where n.account_address = m.account_address)
     group by m.period, l.%1$I::text, scale
     order by m.period, l.%1$I::text nulls last
  $flows$, label_column, from_time, to_time, unit, strata.require_asset(asset), 'labels_' || labels);
end
$$;

comment on function strata.label_flows(text, text, bigint, timestamptz, timestamptz, text) is
  'What came in and went out of the accounts of each label (a column of strata.labels_<labels>), by hour, day, week or month (UTC), in whole units of one asset. Accounts without a label have the label null; null and burn accounts are left out. Transfers within a label count in both its inflow and its outflow, net is free of them.';

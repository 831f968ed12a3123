-- The four tables. Tables and columns that exist already stay as they are, and
-- columns that others have added are never touched.

CREATE TABLE IF NOT EXISTS verra (
  id bigserial,
  project_id text PRIMARY KEY,
  project_name text,
  project_link text,
  project_summary text,
  registry_status text,
  country text,
  vintage int,
  supply double precision,
  updated_at timestamptz
);
ALTER TABLE verra
  ADD COLUMN IF NOT EXISTS id bigserial,
  ADD COLUMN IF NOT EXISTS project_name text,
  ADD COLUMN IF NOT EXISTS project_link text,
  ADD COLUMN IF NOT EXISTS project_summary text,
  ADD COLUMN IF NOT EXISTS registry_status text,
  ADD COLUMN IF NOT EXISTS country text,
  ADD COLUMN IF NOT EXISTS vintage int,
  ADD COLUMN IF NOT EXISTS supply double precision,
  ADD COLUMN IF NOT EXISTS updated_at timestamptz;

CREATE TABLE IF NOT EXISTS carbonmark (
  id text PRIMARY KEY,
  project_id text,
  project_name text,
  vintage int,
  amount double precision,
  updated_at timestamptz
);
ALTER TABLE carbonmark
  ADD COLUMN IF NOT EXISTS project_id text,
  ADD COLUMN IF NOT EXISTS project_name text,
  ADD COLUMN IF NOT EXISTS vintage int,
  ADD COLUMN IF NOT EXISTS amount double precision,
  ADD COLUMN IF NOT EXISTS updated_at timestamptz;

CREATE TABLE IF NOT EXISTS finance (
  ticker text,
  price double precision,
  volume bigint,
  market_cap double precision,
  change_percent double precision,
  timestamp bigint,
  PRIMARY KEY (ticker, timestamp)
);
ALTER TABLE finance
  ADD COLUMN IF NOT EXISTS price double precision,
  ADD COLUMN IF NOT EXISTS volume bigint,
  ADD COLUMN IF NOT EXISTS market_cap double precision,
  ADD COLUMN IF NOT EXISTS change_percent double precision;

CREATE TABLE IF NOT EXISTS news (
  guid text PRIMARY KEY,
  title text,
  link text,
  published text,
  published_at timestamptz,
  source text,
  summary text
);
ALTER TABLE news
  ADD COLUMN IF NOT EXISTS title text,
  ADD COLUMN IF NOT EXISTS link text,
  ADD COLUMN IF NOT EXISTS published text,
  ADD COLUMN IF NOT EXISTS published_at timestamptz,
  ADD COLUMN IF NOT EXISTS source text,
  ADD COLUMN IF NOT EXISTS summary text;

-- Indexes for the queries of the views. They order text by bytes, as the
-- queries do, whatever the collation of the database is.

CREATE INDEX IF NOT EXISTS carbond_verra_country ON verra (country);
CREATE INDEX IF NOT EXISTS carbond_carbonmark_project ON carbonmark (project_id);
CREATE INDEX IF NOT EXISTS carbond_finance_latest ON finance (ticker COLLATE "C", timestamp DESC);
CREATE INDEX IF NOT EXISTS carbond_news_latest ON news (published_at DESC NULLS LAST, guid COLLATE "C");
CREATE INDEX IF NOT EXISTS carbond_news_source ON news (source, published_at DESC NULLS LAST, guid COLLATE "C");

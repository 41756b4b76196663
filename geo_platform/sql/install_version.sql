-- The table of installed versions, which must exist before anything else.
CREATE SCHEMA IF NOT EXISTS geo_platform;
CREATE TABLE IF NOT EXISTS geo_platform.installation (
    version integer PRIMARY KEY,
    installed_at timestamptz NOT NULL DEFAULT now(),
    installed_by text NOT NULL DEFAULT session_user
);
COMMENT ON TABLE geo_platform.installation
    IS 'Versions of the platform''s schemas and tables that were installed here';

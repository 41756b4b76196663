-- Create a schema for published tables.
CREATE SCHEMA IF NOT EXISTS {schema};
GRANT USAGE, CREATE ON SCHEMA {schema} TO geo_loader;
GRANT USAGE ON SCHEMA {schema} TO geo_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE geo_loader IN SCHEMA {schema}
    GRANT SELECT ON TABLES TO geo_reader;

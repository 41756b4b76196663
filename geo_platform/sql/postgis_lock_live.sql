-- Prevent that another version replaces the table before this transaction ends. Readers and writers
-- of rows are not blocked.
LOCK TABLE {live} IN ACCESS SHARE MODE

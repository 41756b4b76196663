-- Lock the table so that no other version replaces it before this transaction ends. Statements that
-- read or write rows are not blocked.
LOCK TABLE {live} IN ACCESS SHARE MODE

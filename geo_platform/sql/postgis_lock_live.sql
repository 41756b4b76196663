-- Nobody can put another version in its place until the transaction ends; readers and writers of rows do not notice.
LOCK TABLE {live} IN ACCESS SHARE MODE

-- Run before the first item of a collection, for which pgSTAC creates a partition: pgSTAC ignores a
-- lock that it does not get. Every publication locks these two tables in this order.
LOCK TABLE pgstac.collections IN SHARE ROW EXCLUSIVE MODE;
LOCK TABLE ONLY pgstac.items IN ACCESS EXCLUSIVE MODE

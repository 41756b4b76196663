-- Before a collection's first item, whose partition pgSTAC makes: its own statement for that swallows a lock that it does
-- not get. In the order in which every publication locks these two.
LOCK TABLE pgstac.collections IN SHARE ROW EXCLUSIVE MODE;
LOCK TABLE ONLY pgstac.items IN ACCESS EXCLUSIVE MODE

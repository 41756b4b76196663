-- The privileges that the owner of a table granted to others.
SELECT CASE granted.grantee WHEN 0 THEN NULL ELSE pg_get_userbyid(granted.grantee) END,
    granted.privilege_type
FROM pg_class AS relation
CROSS JOIN LATERAL aclexplode(relation.relacl) AS granted
WHERE relation.oid = to_regclass(format('%%I.%%I', %(schema)s::text, %(table)s::text))
    AND granted.grantee <> relation.relowner

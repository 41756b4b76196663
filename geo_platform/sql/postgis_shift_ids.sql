UPDATE {table} SET {id} = {id} + %(by)s

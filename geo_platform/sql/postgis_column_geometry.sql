{column} geometry({type}, {srid}) NOT NULL

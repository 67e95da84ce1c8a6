//! Two instances on one PostgreSQL.

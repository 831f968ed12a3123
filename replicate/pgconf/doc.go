// Package pgconf says how carbond connects to Postgres: with which parameters of
// libpq, which settings of the session, and which password.
//
// Every connection of carbond is made from a Source or a Pool of this package,
// because two things must hold for each of them:
//
//  1. Nothing that the role, the database or a stranger has set changes what our
//     SQL means. Names without a schema lead to pg_catalog alone, so that nobody
//     who may create an operator, a function or a table in some schema can have it
//     run with carbond's rights; and no limit of time, no read-only default and no
//     form of values comes from ALTER ROLE or ALTER DATABASE.
//  2. User and password are those of now: files that hold them are read again for
//     each connection, so that a rotation needs no restart.
package pgconf

package sqltext

import (
	"testing"

	"github.com/dendrotrace/dendro/internal/testkit"
)

func TestRedactMessage(t *testing.T) {
	for message, want := range map[string]string{
		`ERROR: relation "orders" does not exist (SQLSTATE 42P01)`:                                   `ERROR: relation "orders" does not exist (SQLSTATE 42P01)`,
		`ERROR: invalid input syntax for type integer: "top "secret"" (SQLSTATE 22P02)`:              `ERROR: invalid input syntax for type integer: "?" (SQLSTATE 22P02)`,
		`ERROR: duplicate key value violates unique constraint "orders_pkey" (SQLSTATE 23505)`:       `ERROR: duplicate key value violates unique constraint "orders_pkey" (SQLSTATE 23505)`,
		`Error 1062 (23000): Duplicate entry 'bob' for key 'email'`:                                  `Error 1062 (23000): Duplicate entry '?'`,
		`Error 1452 (23000): a foreign key constraint fails (` + "`d`.`t`, CONSTRAINT `c`" + `)`:     `Error 1452 (23000): a foreign key constraint fails (` + "`d`.`t`, CONSTRAINT `c`" + `)`,
		`Error 1146 (42S02): Table 'shop.t' doesn't exist`:                                           `Error 1146 (42S02): Table 'shop.t' doesn't exist`,
		`mssql: Cannot insert duplicate key in object 'dbo.t'. The duplicate key value is (secret).`: `mssql: Cannot insert duplicate key in object '?'. The duplicate key value is (?).`,
		`ERROR: duplicate key: Key (email)=(se(cre)t) already exists.`:                               `ERROR: duplicate key: Key (email)=(?) already exists.`,
		`ungültige Eingabesyntax für Typ integer: »secret« (SQLSTATE 22P02)`:                         `ungültige Eingabesyntax für Typ integer: »?« (SQLSTATE 22P02)`,
		`failed to encode args[0]: unable to encode main.T{N:7, S:"x"} into text format`:             `failed to encode args[0]: unable to encode ? into text format`,
		`unexpected '`:                  `unexpected '?`,
		`column "a" is not a "secr'et"`: `column "a" is not a "?"`,
		`plain`:                         `plain`,
		``:                              ``,
	} {
		testkit.Equal(t, message, RedactMessage(message), want)
	}
}

package sqlxdb_test

import (
	"context"
	"fmt"
	"log"

	"github.com/DATA-DOG/go-sqlmock"

	"github.com/dendrotrace/dendro/sqldriver"
	"github.com/dendrotrace/dendro/sqldriver/sqlxdb"
)

func ExampleOpen() {
	_, mock, err := sqlmock.NewWithDSN("example")
	if err != nil {
		log.Fatal(err)
	}
	mock.ExpectQuery("SELECT name FROM orders").WillReturnRows(sqlmock.NewRows([]string{"name"}).AddRow("book").AddRow("pen"))

	db, err := sqlxdb.Open("sqlmock", "example", sqldriver.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	var names []string
	if err := db.SelectContext(context.Background(), &names, "SELECT name FROM orders"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(names)
	// Output: [book pen]
}

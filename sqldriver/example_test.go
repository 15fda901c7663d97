package sqldriver_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"

	"github.com/DATA-DOG/go-sqlmock"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/sqldriver"
)

// shop is a database with orders, for the examples.
func shop(dsn string) sqlmock.Sqlmock {
	_, mock, err := sqlmock.NewWithDSN(dsn)
	if err != nil {
		log.Fatal(err)
	}
	return mock
}

// printer prints the spans of each request.
type printer struct{}

func (printer) Collect(b *dendro.Batch) error {
	for _, s := range b.Spans {
		fmt.Println(s.Name)
		for _, a := range s.Attributes {
			if a.Key == "db.query.text" || a.Key == "db.response.returned_rows" {
				fmt.Println("  ", a)
			}
		}
	}
	return nil
}

func ExampleOpen() {
	mock := shop("example-open")
	mock.ExpectQuery("SELECT").WillReturnRows(sqlmock.NewRows([]string{"total"}).AddRow(42))

	tracer := dendro.New(dendro.Options{Collector: printer{}})
	db, err := sqldriver.Open("sqlmock", "example-open", sqldriver.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	ctx, span := tracer.Start(context.Background(), "GET /orders/7")
	var total int
	if err := db.QueryRowContext(ctx, "SELECT total FROM orders WHERE id = 7 AND state = 'paid'").Scan(&total); err != nil {
		log.Fatal(err)
	}
	span.End()
	// Output:
	// SELECT orders
	//    db.query.text=SELECT total FROM orders WHERE id = ? AND state = ?
	//    db.response.returned_rows=1
	// GET /orders/7
}

func ExampleRegister() {
	shop("example-register")
	name, err := sqldriver.Register("sqlmock", sqldriver.Options{System: "postgresql"})
	if err != nil {
		log.Fatal(err)
	}
	db, err := sql.Open(name, "example-register")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	fmt.Println(name)
	// Output: dendro:sqlmock
}

func ExampleUnwrap() {
	shop("example-unwrap")
	db, err := sqldriver.Open("sqlmock", "example-unwrap", sqldriver.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	conn, err := db.Conn(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	// With pgx, for example: sqldriver.Unwrap(c).(*stdlib.Conn).Conn().CopyFrom(…)
	err = conn.Raw(func(c any) error {
		fmt.Printf("%T\n", sqldriver.Unwrap(c))
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output: *sqlmock.sqlmock
}

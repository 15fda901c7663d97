package main

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-chi/chi/v5"

	"github.com/dendrotrace/dendro/sqldriver/sqlxdb"
)

// orders is the part of the front service that uses the database.
type orders struct {
	db *sqlxdb.DB
}

type order struct {
	ID       int64  `db:"id" json:"id"`
	Customer string `db:"customer" json:"customer"`
	State    string `db:"state" json:"state"`
	Items    []item `db:"-" json:"items"`
}

type item struct {
	OrderID  int64  `db:"order_id" json:"-"`
	Product  string `db:"product" json:"product"`
	Quantity int    `db:"quantity" json:"quantity"`
}

// place accepts an order, in JSON or as a form with one item.
func (o orders) place(w http.ResponseWriter, r *http.Request) {
	placed, err := readOrder(w, r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := insertOrder(r.Context(), o.db, &placed, paymentTime); err != nil {
		databaseError(w, err)
		return
	}
	w.Header().Set("Location", fmt.Sprintf("/orders/%d", placed.ID))
	writeJSON(w, http.StatusCreated, placed)
}

// show responds with one order.
func (o orders) show(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseInt(chi.URLParam(r, "id"), 10, 64)
	if err != nil {
		http.Error(w, "the id of an order is a number", http.StatusBadRequest)
		return
	}
	found, err := selectOrder(r.Context(), o.db, id)
	if errors.Is(err, sql.ErrNoRows) {
		http.Error(w, fmt.Sprintf("there is no order %d", id), http.StatusNotFound)
		return
	}
	if err != nil {
		databaseError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, found)
}

// list responds with the latest orders.
func (o orders) list(w http.ResponseWriter, r *http.Request) {
	latest, err := selectLatestOrders(r.Context(), o.db)
	if err != nil {
		databaseError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, latest)
}

// paymentTime is how long it takes to charge the customer. With -load, the next request comes
// earlier.
const paymentTime = 35 * time.Millisecond

// Bounds of an order.
const (
	maxOrderBytes = 64 << 10
	maxItems      = 20
	maxName       = 80 // bytes
	maxQuantity   = 1000
)

// readOrder returns the order in the body of r. Its errors are meant for the client.
func readOrder(w http.ResponseWriter, r *http.Request) (order, error) {
	var o order
	r.Body = http.MaxBytesReader(w, r.Body, maxOrderBytes)
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		in := json.NewDecoder(r.Body)
		in.DisallowUnknownFields()
		if err := in.Decode(&o); err != nil {
			return o, fmt.Errorf("invalid order: %w", err)
		}
		if in.More() {
			return o, errors.New("invalid order: unexpected data after it")
		}
		return o, o.check()
	}
	if err := r.ParseForm(); err != nil {
		return o, fmt.Errorf("invalid form: %w", err)
	}
	quantity, err := strconv.Atoi(r.PostForm.Get("quantity"))
	if err != nil {
		return o, errors.New("quantity is not a number")
	}
	o.Customer = r.PostForm.Get("customer")
	o.Items = []item{{Product: r.PostForm.Get("product"), Quantity: quantity}}
	return o, o.check()
}

func (o order) check() error {
	if !validName(o.Customer) {
		return fmt.Errorf("customer needs 1 to %d bytes of text", maxName)
	}
	if len(o.Items) == 0 || len(o.Items) > maxItems {
		return fmt.Errorf("an order needs 1 to %d items", maxItems)
	}
	for _, it := range o.Items {
		if !validName(it.Product) {
			return fmt.Errorf("product needs 1 to %d bytes of text", maxName)
		}
		if it.Quantity < 1 || it.Quantity > maxQuantity {
			return fmt.Errorf("quantity is not from 1 to %d", maxQuantity)
		}
	}
	return nil
}

// validName reports whether every database accepts s as text.
func validName(s string) bool {
	return s != "" && len(s) <= maxName && utf8.ValidString(s) && !strings.Contains(s, "\x00")
}

func databaseError(w http.ResponseWriter, err error) {
	log.Print("orders: ", err)
	http.Error(w, "the database failed", http.StatusInternalServerError)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

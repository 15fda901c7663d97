.PHONY: help bench transparency gotests

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

bench: ## compare with the peers for half an hour; writes the tables of docs/performance.md
	cd benchmarks && GOWORK=off go build -o ../bin/benchmarks .
	bin/benchmarks -o docs/performance.md

transparency: ## what wrappers of net/http and of drivers change, ours and those of the peers; writes docs/transparency.md
	cd benchmarks && GOWORK=off go build -o ../bin/benchmarks .
	bin/benchmarks -parts transparency -o docs/transparency.md
	cd benchmarks && GOWORK=off go test -run TestSQLTransparency . -transparency ../docs/transparency.md

gotests: ## run Go's own tests of net/http and database/sql with dendro in between; writes docs/transparency.md
	go run ./internal/gotests -w

.PHONY: FORCE help bench bench-clickhouse bench-collector transparency gotests memory

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

memory: ## the resident memory of dendro serve under load, at several sizes; takes five minutes
	for size in 64MiB 256MiB 1GiB; do go test ./cmd/dendro -run TestResidentMemory -count 1 -v -load.memory $$size -load.time 30s || exit 1; done

bin/benchmarks: FORCE
	cd benchmarks && GOWORK=off go build -o ../bin/benchmarks .
FORCE:

bench: bin/benchmarks ## compare with the peers for half an hour; writes the tables of docs/performance.md
	bin/benchmarks -o docs/performance.md

SPANS ?= 2000000
bench-collector: ## what dendro serve -data costs, with SPANS spans (2000000): the server on one processor, the generator on the others
	CGO_ENABLED=0 go test ./cmd/dendro -run TestCollector -count 1 -v -timeout 1h -collector.spans $(SPANS)

bench-clickhouse: ## the same with dendro serve -clickhouse, and the ClickHouse of internal/chdb beside it (npm ci there)
	CGO_ENABLED=0 go test ./cmd/dendro -run TestCollector -count 1 -v -timeout 1h -collector.spans $(SPANS) -collector.clickhouse

transparency: bin/benchmarks ## what wrappers of net/http and of drivers change, ours and those of the peers; writes docs/transparency.md
	bin/benchmarks -parts transparency -o docs/transparency.md
	cd benchmarks && GOWORK=off go test -run TestSQLTransparency . -transparency ../docs/transparency.md

gotests: ## run Go's own tests of net/http and database/sql with dendro in between; writes docs/transparency.md
	go run ./internal/gotests -w

.PHONY: help bench

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

bench: ## compare with the peers; writes docs/performance-table.md and docs/performance-requests.md
	cd benchmarks && GOWORK=off go build -o ../bin/benchmarks .
	bin/benchmarks -o docs/performance-table.md
	bin/benchmarks -e2e -o docs/performance-requests.md
